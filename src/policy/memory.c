/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>

#include "policy/internal.h"

struct policy_block {
	struct policy_block *next;
	max_align_t bytes[];
};

void *policy_allocate(struct policy *policy, size_t size)
{
	struct policy_block *block = calloc(1, sizeof(*block) + size);
	if (!block)
		return NULL;
	block->next = policy->blocks;
	policy->blocks = block;
	return block->bytes;
}

void policy_destroy(struct policy *policy)
{
	if (!policy)
		return;
	while (policy->blocks) {
		struct policy_block *block = policy->blocks;
		policy->blocks = block->next;
		free(block);
	}
	free(policy);
}
