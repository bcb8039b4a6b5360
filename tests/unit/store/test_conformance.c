/* The SQLite driver keeps what every driver has to keep. */
#include "../../store/conformance.h"

#include "place.h"

int main(void) {
    const struct conformance_driver sqlite = {.name = "store conformance: sqlite",
                                              .make_location = place_make,
                                              .discard_location = place_discard};
    return conformance_run(&sqlite);
}
