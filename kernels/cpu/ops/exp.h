// exp of 16 lanes.
#pragma once

namespace nutshell::NUTSHELL_LEVEL {

// Relative error below 2e-7; exactly 0 below -87.7 (so that exp(-inf) = 0) and 1.7e38 above 88.
// x = n ln2 + r; exp(r) by a polynomial of degree 6 fitted to the relative error on |r| <= ln2 / 2 (3e-9).
inline F exp(F x) {
    x = min(max(x, F::set1(-88.02f)), F::set1(88.02f));
    I n = round_to_int(x * F::set1(1.44269504f));  // -127 .. 127
    F whole = to_float(n);
    F r = fma(whole, F::set1(-0.693359375f), x);  // 9 bits of ln2: the product is exact
    r = fma(whole, F::set1(2.12194440e-4f), r);
    F p = fma(F::set1(0.00138145405f), r, F::set1(0.00836874521f));
    p = fma(p, r, F::set1(0.0416683908f));
    p = fma(p, r, F::set1(0.166665204f));
    p = fma(p, r, F::set1(0.499999934f));
    p = fma(p * r, r, r) + F::set1(1.0f);
    return p * bits_to_float((n + I::set1(127)).shl<23>());  // n = -127 makes the factor 0
}

}  // namespace nutshell::NUTSHELL_LEVEL
