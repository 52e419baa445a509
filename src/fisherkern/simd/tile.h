/* Every leaf loop over one tile; included once per dtype and tile width. */
#include "template.h"
#include "elementary.h"
#include "activations.h"
#include "exchange.h"
#include "forward.h"
#include "output.h"
#include "backward.h"
#include "statistics.h"

static const fk_tile_leaves NAME(tile_leaves) = {
    FK_TILE, NAME(load), NAME(load_classes), NAME(store), NAME(activate), NAME(forward),
    NAME(output), NAME(backward), NAME(centre), NAME(ranges), NAME(statistics),
};

#undef EACH_SAMPLE
#undef EACH_VECTOR
#undef VEC
#undef BITS
#undef LANES
#undef VECS
#undef CHUNK
#include "untemplate.h"
