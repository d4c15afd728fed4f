/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "guest/members.h"
#include "guest/socket.h"

/*
 * TCP's tables of connections: struct inet_hashinfo (include/net/inet_hashtables.h), one for all network namespaces unless
 * net.ipv4.tcp_child_ehash_entries says otherwise (from 6.1 on). A chain ends with a number instead of a pointer, that of its bucket
 * (include/linux/list_nulls.h): who is led into another chain, because an entry was moved meanwhile, sees it there.
 */

enum {
	BUCKETS_MAXIMUM = 1 << 22, // of all tables; the kernel makes up to 1 << 19 of one if it is not told otherwise
	BUCKETS_PART = 512,
	CONNECTIONS_MAXIMUM = 1 << 21,
	CHAIN_MAXIMUM = 1 << 12,
	CHAIN_ATTEMPTS = 4,
	NAMESPACES_MAXIMUM = 1 << 16,
	TABLES_MAXIMUM = 64,
	MODULES_MAXIMUM = 1 << 12,
	NULLS = 1,
};

struct walk {
	const struct guest_kernel *kernel;
	bool (*visit)(const struct guest_socket *connection, void *context);
	void *context;
	uint32_t visited, buckets;
	bool ended; // the visitor wants no more
	enum guest_result result; // of the last namespace
	uint64_t tables[TABLES_MAXIMUM]; // that were visited
	uint32_t table_count;
};

// What is being taken out just now may be anything: its like is not visited.
static void visit_one(struct walk *walk, uint64_t sock)
{
	struct guest_socket connection;
	if (guest_connection_read(walk->kernel, sock, &connection) == GUEST_OK)
		walk->ended = !walk->visit(&connection, walk->context);
}

static enum guest_result visit_chain(struct walk *walk, uint64_t first, uint64_t *end)
{
	const uint64_t offset = guest_offset(walk->kernel, FIELD_sock_nulls_node);
	uint64_t node = first;
	for (uint32_t length = 0; !(node & NULLS); length++) {
		if (length == CHAIN_MAXIMUM || walk->visited == CONNECTIONS_MAXIMUM)
			return GUEST_BOUND;
		if (!guest_is_kernel_pointer(node))
			return GUEST_BAD_DATA;
		walk->visited++;
		visit_one(walk, node - offset);
		if (walk->ended)
			return GUEST_OK;
		enum guest_result result = guest_read_kernel(walk->kernel, node, &node, sizeof(node));
		if (result)
			return result;
	}
	*end = node >> 1;
	return GUEST_OK;
}

static enum guest_result visit_bucket(struct walk *walk, uint64_t place, uint32_t number, uint64_t first)
{
	for (int attempts = 0;; attempts++) {
		uint64_t end;
		enum guest_result result = visit_chain(walk, first, &end);
		if (result || walk->ended || end == number)
			return result;
		if (attempts == CHAIN_ATTEMPTS)
			return GUEST_BOUND;
		result = guest_read_kernel(walk->kernel, place, &first, sizeof(first));
		if (result)
			return result;
	}
}

static enum guest_result visit_table(struct walk *walk, uint64_t table)
{
	uint64_t buckets, mask, part[BUCKETS_PART];
	for (uint32_t i = 0; i < walk->table_count; i++)
		if (walk->tables[i] == table)
			return GUEST_OK;
	if (walk->table_count == TABLES_MAXIMUM)
		return GUEST_BOUND;
	walk->tables[walk->table_count++] = table;
	enum guest_result result = guest_follow_required(walk->kernel, table, FIELD_inet_hashinfo_ehash, &buckets);
	if (result == GUEST_OK)
		result = guest_read_field(walk->kernel, table, FIELD_inet_hashinfo_ehash_mask, &mask);
	if (result)
		return result;
	if ((mask & (mask + 1)) != 0)
		return GUEST_BAD_DATA;
	if (mask >= BUCKETS_MAXIMUM - walk->buckets)
		return GUEST_BOUND;
	walk->buckets += (uint32_t)mask + 1;
	for (uint32_t i = 0; i <= mask && result == GUEST_OK && !walk->ended; i++) {
		const uint32_t inside = i % BUCKETS_PART, left = (uint32_t)mask + 1 - i;
		const uint64_t place = buckets + i * sizeof(part[0]);
		if (inside == 0)
			result = guest_read_kernel(walk->kernel, place, part,
						   sizeof(part[0]) * (left < BUCKETS_PART ? left : BUCKETS_PART));
		if (result == GUEST_OK)
			result = visit_bucket(walk, place, i, part[inside]);
	}
	return result;
}

static bool visit_namespace(uint64_t namespace, void *context)
{
	struct walk *walk = context;
	uint64_t table;
	enum guest_result result = guest_follow(walk->kernel, namespace, FIELD_net_tcp_hashinfo, &table);
	if (result == GUEST_OK)
		result = visit_table(walk, table);
	else if (result == GUEST_NOT_FOUND) // is just being made, or taken down
		result = GUEST_OK;
	walk->result = result;
	return result == GUEST_OK && !walk->ended;
}

static enum guest_result visit_namespaces(struct walk *walk)
{
	enum guest_result result = guest_for_each_in_ring(
		walk->kernel, guest_symbol(walk->kernel, SYMBOL_net_namespace_list),
		guest_offset(walk->kernel, FIELD_net_list), NAMESPACES_MAXIMUM, visit_namespace, walk);
	return walk->result ? walk->result : result;
}

enum guest_result guest_for_each_connection(const struct guest_kernel *kernel,
					    bool (*visit)(const struct guest_socket *connection, void *context),
					    void *context)
{
	struct walk walk = {.kernel = kernel, .visit = visit, .context = context};
	uint64_t table = guest_symbol(kernel, SYMBOL_tcp_hashinfo);
	if (!guest_has_field(kernel, FIELD_sock_nulls_node) || !guest_has_field(kernel, FIELD_inet_hashinfo_ehash) ||
	    !guest_has_field(kernel, FIELD_inet_hashinfo_ehash_mask) || !guest_has_field(kernel, FIELD_ehash_bucket_chain) ||
	    guest_offset(kernel, FIELD_ehash_bucket_chain) != 0)
		return GUEST_BAD_DATA;
	if (guest_has_field(kernel, FIELD_net_tcp_hashinfo) && guest_has_field(kernel, FIELD_net_list) &&
	    guest_symbol(kernel, SYMBOL_net_namespace_list))
		return visit_namespaces(&walk);
	return table ? visit_table(&walk, table) : GUEST_BAD_DATA;
}

struct module_search {
	const struct guest_kernel *kernel;
	enum guest_result result;
	bool found;
};

static bool visit_module(uint64_t module, void *context)
{
	static const char wanted[] = "nf_nat";
	struct module_search *search = context;
	char name[sizeof(wanted)];
	search->result = guest_read_kernel(search->kernel, module + guest_offset(search->kernel, FIELD_module_name), name,
					   sizeof(name));
	search->found = search->result == GUEST_OK && memcmp(name, wanted, sizeof(wanted)) == 0;
	return search->result == GUEST_OK && !search->found;
}

enum guest_result guest_translates_addresses(const struct guest_kernel *kernel, bool *translates)
{
	struct module_search search = {.kernel = kernel};
	const uint64_t modules = guest_symbol(kernel, SYMBOL_modules);
	*translates = guest_symbol(kernel, SYMBOL_nf_nat_setup_info) != 0;
	if (*translates)
		return GUEST_OK;
	if (!modules || !guest_has_field(kernel, FIELD_module_list) || !guest_has_field(kernel, FIELD_module_name))
		return GUEST_BAD_DATA;
	enum guest_result result = guest_for_each_in_ring(kernel, modules, guest_offset(kernel, FIELD_module_list),
							  MODULES_MAXIMUM, visit_module, &search);
	*translates = search.found;
	return search.result ? search.result : result;
}

enum guest_result guest_for_each_unaccepted(const struct guest_kernel *kernel, uint64_t listener, uint32_t maximum,
					    bool (*visit)(const struct guest_socket *connection, void *context),
					    void *context)
{
	struct walk walk = {.kernel = kernel, .visit = visit, .context = context};
	uint64_t request, sock;
	if (!guest_has_field(kernel, FIELD_listener_accept_head) || !guest_has_field(kernel, FIELD_request_sock_next) ||
	    !guest_has_field(kernel, FIELD_request_sock_sk))
		return GUEST_BAD_DATA;
	enum guest_result result = guest_follow(kernel, listener, FIELD_listener_accept_head, &request);
	for (; result == GUEST_OK && !walk.ended; walk.visited++) {
		if (walk.visited == maximum)
			return GUEST_BOUND;
		result = guest_follow(kernel, request, FIELD_request_sock_sk, &sock);
		if (result == GUEST_OK)
			visit_one(&walk, sock);
		if (result == GUEST_OK || result == GUEST_NOT_FOUND)
			result = guest_follow(kernel, request, FIELD_request_sock_next, &request);
	}
	return result == GUEST_NOT_FOUND ? GUEST_OK : result;
}
