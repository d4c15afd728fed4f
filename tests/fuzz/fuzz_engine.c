/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/engine_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char message[256];
	if (!engine_model_run(data, size, message, sizeof(message))) {
		fprintf(stderr, "fuzz_engine: %s\n", message);
		abort();
	}
	return 0;
}
