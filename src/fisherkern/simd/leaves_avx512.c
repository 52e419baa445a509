#include "fk.h"

#if FK_HAS_X86_TARGETS
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#define FK_ISA avx512
#define FK_VECTOR_BYTES 64
#include "leaves.h"
#endif
