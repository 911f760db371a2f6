// A byte-pair encoding: words, given as the numbers of their letters, joined to tokens. In 7 MB for 151,936 tokens.
#pragma once
#include <cstdint>
#include <vector>

namespace nutshell {

class BytePairs {
  public:
    // letters [offsets[n]]: all tokens' texts one after the other; offsets [n + 1].
    // merges [count, 3]: left, right, what they make; the first is joined first. A pair that comes twice counts as the last.
    // whole_words: a word that is a token is taken as it is. The caller keeps letters and offsets alive.
    BytePairs(const uint8_t* letters, const uint32_t* offsets, int tokens, const int32_t* merges, int count, bool whole_words);

    // Appends the tokens of one word of n symbols.
    void word(const int32_t* symbols, int n, std::vector<int32_t>& out);
    int tokens() const { return tokens_; }

  private:
    struct Symbol {
        int32_t token;  // -1: joined to the one before
        int before, after;
    };
    struct Candidate {
        int32_t rank, at, token;
        bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
    };
    int32_t rank_of(int32_t left, int32_t right) const;
    int32_t whole(const int32_t* symbols, int n);
    void consider(int at);

    const uint8_t* letters_;
    const uint32_t* offsets_;
    int tokens_;
    uint32_t mask_ = 0;
    std::vector<uint64_t> pairs_;   // open addressing; left << 32 | right
    std::vector<int32_t> ranks_;    // of the pair in the same place, -1: free
    std::vector<int32_t> made_;     // by rank
    uint32_t word_mask_ = 0;
    std::vector<int32_t> words_;    // tokens by their texts; only with whole_words
    std::vector<Symbol> symbols_;   // of the word at hand, as are the next two
    std::vector<Candidate> heap_;
    std::vector<uint8_t> text_;
};

}  // namespace nutshell
