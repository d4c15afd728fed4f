/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_ENGINE_MODEL_H
#define NIJIMI_TESTS_ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Drives an engine with the operations that `bytes` spell out (any bytes do), beside a naive model
 * of the rules of diffusion: a plain array of objects, a plain array of flows, and repetition until
 * nothing changes. After each operation both must agree, and each message to the sink must have
 * been allowed. False, and a sentence in `message`, at the first difference.
 */
bool engine_model_run(const uint8_t *bytes, size_t size, char *message, size_t message_size);

#endif
