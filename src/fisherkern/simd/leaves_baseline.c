/* What every processor of the architecture runs. */
#define FK_ISA baseline
#define FK_VECTOR_BYTES 16
#include "leaves.h"
