/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_TESTS_ENGINE_RECORDER_H
#define NIJIMI_TESTS_ENGINE_RECORDER_H

#include "engine/engine.h"

/**
 * A sink that writes down what it is told, so that a test can say what it expects as text:
 *
 *	managed F1 as 1
 *	1: none -> F1 0x3 by 7          edge 1, labels 0x3, cause 7; "F1#0" if F1 has no number,
 *	                                "assumed" in place of "none" if so
 *	  512 bytes                     in the line behind, if they are known
 *	moved 512 from 1 to 2 by 7      by an edge that was told before
 *	ended F1 as 1 with 0x3
 *	lost 0x3 of P2
 *	cleared F1 as 1 of 0x3
 *	kept 0x2 of P8 from F1 by 7     P7 is a boundary for all labels, P8 for 0x2, but not for flows
 *	                                with cause 77; as soon as the test has said that there are
 */
struct recorder {
	struct engine *engine;
	size_t length;
	char text[1 << 16];
};

/** An engine with a recorder behind it; `objects` as in engine_limits. */
struct recorder *recorder_create(uint32_t objects);
void recorder_destroy(struct recorder *recorder);

struct engine_sink recorder_sink(struct recorder *recorder);

/** Fails the test unless exactly `text` was written down since the last call. */
#define assert_told(recorder, text) recorder_assert(recorder, text, __FILE__, __LINE__)
void recorder_assert(struct recorder *recorder, const char *text, const char *file, int line);

/* Objects by their letter and number: F1 is a file, P1 a process, S1 what a socket sends, R1 what
 * it receives, E1 an endpoint. */
struct object_reference object(const char *name);

/* The calls of the engine by objects' names. */
void mark(struct recorder *recorder, const char *name, label_set labels, uint32_t cause);
void transfer(struct recorder *recorder, const char *from, const char *to, uint32_t cause);
void begin(struct recorder *recorder, struct engine_flow *flow, const char *from, const char *to,
	   uint32_t cause);
void end(struct recorder *recorder, struct engine_flow *flow, bool moved);
void end_with(struct recorder *recorder, struct engine_flow *flow, uint64_t bytes);
void object_end(struct recorder *recorder, const char *name);
void clear(struct recorder *recorder, const char *name, label_set labels);
label_set labels(struct recorder *recorder, const char *name);
label_set in_flight(struct recorder *recorder, const char *name);

#endif
