#include "pool.h"

namespace nutshell {

void Pool::run(int count, Function function, void* context) {
    for (int chunk = 0; chunk < count; chunk++) function(context, chunk, 0);
}

}  // namespace nutshell
