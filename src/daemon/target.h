/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_DAEMON_TARGET_H
#define NIJIMI_DAEMON_TARGET_H

#include <stdbool.h>

#include "policy/policy.h"
#include "wire/wire.h"

/** What an object is to the policy; false: it can be no sink. The texts are the object's. */
bool target_of(const struct wire_object *object, struct policy_target *target);

/** As it is shown: an address, a path, "vsock". */
const char *target_text(const struct wire_object *object);

#endif
