// Which levels this processor and this operating system run.
#pragma once
#include <vector>

#include "types.h"

namespace nutshell {

// Compiled and supported here, slowest first; never empty.
const std::vector<const Level*>& supported_levels();

}  // namespace nutshell
