/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NIJIMI_POLICY_INTERNAL_H
#define NIJIMI_POLICY_INTERNAL_H

#include "policy/policy.h"

/** Zeroed memory that lives as long as the policy; NULL: there is none. */
void *policy_allocate(struct policy *policy, size_t size);

#endif
