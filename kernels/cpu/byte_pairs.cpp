#include "byte_pairs.h"

#include <algorithm>
#include <cstring>

namespace nutshell {
namespace {

uint32_t mixed(uint64_t x) {
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 29)) * 0xD6E8FEB86659FD93ull;
    return (uint32_t)(x >> 32);
}

uint32_t hash_of(const uint8_t* text, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) h = (h ^ text[i]) * 0x100000001B3ull;
    return mixed(h);
}

uint32_t mask_for(int entries) {
    uint32_t size = 16;
    while (size < 1.5 * entries) size *= 2;
    return size - 1;
}

uint64_t key_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

}  // namespace

BytePairs::BytePairs(const uint8_t* letters, const uint32_t* offsets, int tokens, const int32_t* merges, int count,
                     bool whole_words)
    : letters_(letters), offsets_(offsets), tokens_(tokens), mask_(mask_for(count)), pairs_((size_t)mask_ + 1),
      ranks_((size_t)mask_ + 1, -1), made_((size_t)count) {
    for (int rank = 0; rank < count; rank++) {
        const int32_t* merge = merges + (size_t)rank * 3;
        const uint64_t key = key_of(merge[0], merge[1]);
        uint32_t place = mixed(key) & mask_;
        while (ranks_[place] >= 0 && pairs_[place] != key) place = (place + 1) & mask_;
        pairs_[place] = key;
        ranks_[place] = rank;
        made_[(size_t)rank] = merge[2];
    }
    if (!whole_words) return;
    word_mask_ = mask_for(tokens);
    words_.assign((size_t)word_mask_ + 1, -1);
    for (int token = 0; token < tokens; token++) {
        const size_t n = offsets[token + 1] - offsets[token];
        if (!n) continue;
        uint32_t place = hash_of(letters + offsets[token], n) & word_mask_;
        while (words_[place] >= 0) place = (place + 1) & word_mask_;
        words_[place] = token;
    }
}

int32_t BytePairs::rank_of(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (uint32_t place = mixed(key) & mask_; ranks_[place] >= 0; place = (place + 1) & mask_)
        if (pairs_[place] == key) return ranks_[place];
    return -1;
}

// The token that is the whole word, or -1.
int32_t BytePairs::whole(const int32_t* symbols, int n) {
    text_.clear();
    for (int i = 0; i < n; i++) text_.insert(text_.end(), letters_ + offsets_[symbols[i]], letters_ + offsets_[symbols[i] + 1]);
    for (uint32_t place = hash_of(text_.data(), text_.size()) & word_mask_; words_[place] >= 0; place = (place + 1) & word_mask_) {
        const int32_t token = words_[place];
        const size_t length = offsets_[token + 1] - offsets_[token];
        if (length == text_.size() && !std::memcmp(letters_ + offsets_[token], text_.data(), length)) return token;
    }
    return -1;
}

void BytePairs::consider(int at) {
    const int after = symbols_[(size_t)at].after;
    if (after < 0) return;
    const int32_t rank = rank_of(symbols_[(size_t)at].token, symbols_[(size_t)after].token);
    if (rank < 0) return;
    heap_.push_back({rank, at, made_[(size_t)rank]});
    std::push_heap(heap_.begin(), heap_.end());
}

// The pair of the lowest rank is joined first, of equal ones the leftmost, until none is left.
void BytePairs::word(const int32_t* symbols, int n, std::vector<int32_t>& out) {
    if (!words_.empty()) {
        const int32_t token = whole(symbols, n);
        if (token >= 0) return out.push_back(token);
    }
    symbols_.clear();
    heap_.clear();
    for (int i = 0; i < n; i++) symbols_.push_back({symbols[i], i - 1, i + 1 < n ? i + 1 : -1});
    for (int i = 0; i + 1 < n; i++) consider(i);
    while (!heap_.empty()) {
        std::pop_heap(heap_.begin(), heap_.end());
        const Candidate best = heap_.back();
        heap_.pop_back();
        Symbol& left = symbols_[(size_t)best.at];
        if (left.token < 0 || left.after < 0) continue;
        Symbol& right = symbols_[(size_t)left.after];
        // one of the two was joined to something else since; a pair that makes the same token is as good
        const int32_t rank = rank_of(left.token, right.token);
        if (rank < 0 || made_[(size_t)rank] != best.token) continue;
        left.token = best.token;
        left.after = right.after;
        right.token = -1;
        if (left.after >= 0) symbols_[(size_t)left.after].before = best.at;
        if (left.before >= 0) consider(left.before);
        consider(best.at);
    }
    for (const Symbol& symbol : symbols_)
        if (symbol.token >= 0) out.push_back(symbol.token);
}

}  // namespace nutshell
