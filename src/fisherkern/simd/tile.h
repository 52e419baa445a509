/* Every leaf loop over one tile; included once per dtype and tile width. */
#include "template.h"
#include "vector.h"
#include "elementary.h"
#include "activations.h"
#include "exchange.h"
#include "gather.h"
#include "forward.h"
#include "output.h"
#include "moments.h"
#include "backward.h"
#include "transfer.h"
#include "draw.h"
#include "statistics.h"

static const fk_tile_leaves NAME(tile_leaves) = {
    FK_TILE, NAME(load), NAME(load_classes), NAME(store), NAME(activate), NAME(forward),
    NAME(output), NAME(backward), NAME(roots), NAME(identity_roots), NAME(root_columns),
    NAME(value_column), NAME(transfer), NAME(add_squares), NAME(parameter_rates), NAME(draw),
    NAME(centre), NAME(ranges), NAME(statistics),
};

#include "untemplate.h"
