#include "fk.h"

#if FK_HAS_X86_TARGETS
#pragma GCC target("avx2,fma")
#define FK_ISA avx2
#define FK_VECTOR_BYTES 32
#include "leaves.h"
#endif
