/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/filesystems.h"
#include "base/glob.h"
#include "base/text.h"
#include "policy/internal.h"

enum {
	SHOWN = 80, // bytes of a value in a message
	ALERTS_A_MINUTE = 60,
	REPEAT_SECONDS = 3600,
	TIMEOUT_SECONDS = 10,
	TIMEOUT_MAXIMUM = 300,
};

struct reading {
	yaml_document_t document;
	struct policy *policy;
	size_t boundary_rows;
	struct policy_problems *problems;
	size_t files; // rows, of all labels
	bool no_memory;
};

// Problems -----------------------------------------------------------------------------------

// The messages quote what operators have written, backslashes as well.
static void make_printable(const char *message, char *printable, size_t size)
{
	text_escape(message, printable, size);
	for (char *at = printable; (at = strstr(at, "\\x5c")); at++)
		memmove(at + 1, at + 4, strlen(at + 4) + 1);
}

static void add_problem(struct policy_problems *problems, size_t line, size_t column,
			const char *format, va_list arguments)
{
	if (problems->count == POLICY_PROBLEMS_MAXIMUM) {
		problems->left_out++;
		return;
	}
	struct policy_problem *items =
		realloc(problems->items, (problems->count + 1) * sizeof(*items));
	if (!items) {
		problems->left_out++;
		return;
	}
	problems->items = items;
	struct policy_problem *problem = &items[problems->count++];
	problem->line = (unsigned int)line + 1;
	problem->column = (unsigned int)column + 1;
	char message[sizeof(problem->message)];
	vsnprintf(message, sizeof(message), format, arguments);
	make_printable(message, problem->message, sizeof(problem->message));
}

static void complain(struct reading *reading, const yaml_node_t *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void complain(struct reading *reading, const yaml_node_t *node, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	add_problem(reading->problems, node->start_mark.line, node->start_mark.column, format,
		    arguments);
	va_end(arguments);
}

static void complain_at(struct policy_problems *problems, size_t line, size_t column,
			const char *format, ...) __attribute__((format(printf, 4, 5)));

static void complain_at(struct policy_problems *problems, size_t line, size_t column,
			const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	add_problem(problems, line, column, format, arguments);
	va_end(arguments);
}

void policy_problems_deinit(struct policy_problems *problems)
{
	free(problems->items);
	*problems = (struct policy_problems){0};
}

static int compare_problems(const void *left, const void *right)
{
	const struct policy_problem *a = left, *b = right;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return a->column < b->column ? -1 : a->column > b->column;
}

// Memory -------------------------------------------------------------------------------------

static void *allocate(struct reading *reading, size_t size)
{
	void *memory = policy_allocate(reading->policy, size);
	reading->no_memory |= !memory;
	return memory;
}

// Nodes --------------------------------------------------------------------------------------

static const char *kind_of(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_MAPPING_NODE:
		return "a mapping";
	case YAML_SEQUENCE_NODE:
		return "a list";
	default:
		return node->data.scalar.length ? "a single value" : "empty";
	}
}

static yaml_node_t *node_at(struct reading *reading, int index)
{
	return yaml_document_get_node(&reading->document, index);
}

// The text of a single value; NULL: it is something else, and that was said.
static const char *text_of(struct reading *reading, const yaml_node_t *node, const char *what)
{
	if (node->type != YAML_SCALAR_NODE) {
		complain(reading, node, "%s is %s, but has to be a single value", what,
			 kind_of(node));
		return NULL;
	}
	const char *text = (const char *)node->data.scalar.value;
	size_t length = node->data.scalar.length;
	if (length == 0)
		complain(reading, node, "%s is empty: give it a value, or remove the line", what);
	else if (memchr(text, '\0', length) || memchr(text, '\n', length))
		complain(reading, node, "%s contains a NUL or a line break: remove it", what);
	else
		return text;
	return NULL;
}

static const char *copy_of(struct reading *reading, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = allocate(reading, size);
	return copy ? memcpy(copy, text, size) : "";
}

typedef void (*read_function)(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target);

/** A row a key of a mapping. Without a function: planned, and refused. */
struct key {
	const char *name;
	read_function read;
	bool required;
};

static const struct key *find_key(const struct key *keys, const char *name)
{
	for (; keys->name; keys++)
		if (strcmp(keys->name, name) == 0)
			return keys;
	return NULL;
}

static void list_keys(const struct key *keys, char *text, size_t size)
{
	size_t used = 0;
	*text = '\0';
	for (bool first = true; keys->name && used < size; keys++) {
		if (!keys->read)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s", first ? "" : ", ",
					 keys->name);
		first = false;
	}
}

static void read_pair(struct reading *reading, const yaml_node_pair_t *pair, const char *what,
		      const struct key *keys, uint64_t *seen, void *target)
{
	char known[200], name[100];
	const yaml_node_t *key_node = node_at(reading, pair->key);
	const char *text = text_of(reading, key_node, "a key");
	if (!text)
		return;
	const struct key *key = find_key(keys, text);
	if (!key) {
		list_keys(keys, known, sizeof(known));
		complain(reading, key_node, "unknown key '%.*s' in %s: there are %s", SHOWN, text,
			 what, known);
	} else if (!key->read) {
		complain(
			reading, key_node,
			"'%s' in %s is not supported yet: remove it (nothing would follow from it)",
			key->name, what);
	} else if (*seen & 1ull << (key - keys)) {
		complain(reading, key_node, "'%s' stands in %s twice: keep one of them", key->name,
			 what);
	} else {
		snprintf(name, sizeof(name), "'%s'", key->name);
		key->read(reading, node_at(reading, pair->value), name, target);
	}
	if (key)
		*seen |= 1ull << (key - keys);
}

// Fills what `target` points to from a mapping. Returns the keys that were there, by their rows.
static uint64_t read_mapping(struct reading *reading, const yaml_node_t *node, const char *what,
			     const struct key *keys, void *target)
{
	char known[200];
	uint64_t seen = 0;
	if (node->type != YAML_MAPPING_NODE) {
		list_keys(keys, known, sizeof(known));
		complain(reading, node, "%s is %s, but has to be a mapping with the keys %s", what,
			 kind_of(node), known);
		return UINT64_MAX;
	}
	for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	     pair < node->data.mapping.pairs.top; pair++)
		read_pair(reading, pair, what, keys, &seen, target);
	for (const struct key *key = keys; key->name; key++)
		if (key->required && !(seen & 1ull << (key - keys)))
			complain(reading, node, "%s has no '%s': add one", what, key->name);
	return seen;
}

// A list, or (`single`) one entry as a list of one. Calls `read` for each entry with its place in
// an array of `size` bytes each; returns the array.
static void *read_list(struct reading *reading, const yaml_node_t *node, const char *what,
		       bool single, size_t size, size_t maximum, read_function read, size_t *count)
{
	size_t length = 1;
	*count = 0;
	if (node->type == YAML_SEQUENCE_NODE) {
		length = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	} else if (!single) {
		complain(reading, node,
			 "%s is %s, but has to be a list: begin each entry with \"- \"", what,
			 kind_of(node));
		return NULL;
	}
	if (length == 0)
		complain(reading, node, "%s is an empty list: add an entry, or remove the key",
			 what);
	if (length > maximum) {
		complain(reading, node, "%s has %zu entries: %zu are the most", what, length,
			 maximum);
		return NULL;
	}
	char *array = allocate(reading, (length + 1) * size);
	for (size_t i = 0; array && i < length; i++) {
		const yaml_node_t *entry =
			node->type == YAML_SEQUENCE_NODE
				? node_at(reading, node->data.sequence.items.start[i])
				: node;
		read(reading, entry, what, array + i * size);
		(*count)++;
	}
	return array;
}

static void read_text(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	const char *text = text_of(reading, value, what);
	*(const char **)target = text ? copy_of(reading, text) : "";
}

static void read_texts(struct reading *reading, const yaml_node_t *value, const char *what,
		       read_function read, struct policy_texts *texts)
{
	texts->text = read_list(reading, value, what, true, sizeof(char *), POLICY_LIST_MAXIMUM,
				read, &texts->count);
}

static void read_glob(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	struct error error;
	const char *text = text_of(reading, value, what);
	*(const char **)target = "";
	if (!text)
		return;
	if (!glob_check(text, &error))
		complain(reading, value, "%s: %s", what, error.message);
	else
		*(const char **)target = copy_of(reading, text);
}

static bool number_of(struct reading *reading, const yaml_node_t *value, const char *what,
		      uint64_t maximum, uint64_t *number)
{
	struct error error;
	const char *text = text_of(reading, value, what);
	if (!text)
		return false;
	if (policy_parse_number(text, maximum, number, &error))
		return true;
	complain(reading, value, "%s: %s", what, error.message);
	return false;
}

static void read_name(struct reading *reading, const yaml_node_t *value, const char *what,
		      char name[POLICY_NAME_SIZE])
{
	struct error error;
	const char *text = text_of(reading, value, what);
	if (text && !policy_parse_name(text, name, &error))
		complain(reading, value, "%s: %s", what, error.message);
}

// Labels -------------------------------------------------------------------------------------

static void read_files_path(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	struct policy_files *files = target;
	read_glob(reading, value, what, &files->path);
	files->criteria |= POLICY_BY_PATH;
}

static void read_files_filesystem(struct reading *reading, const yaml_node_t *value,
				  const char *what, void *target)
{
	enum { KERNELS_MAXIMUM = 15 }; // as much of a type's name as is read from a guest
	struct policy_files *files = target;
	read_text(reading, value, what, &files->filesystem);
	files->criteria |= POLICY_BY_FILESYSTEM;
	if (strlen(files->filesystem) > KERNELS_MAXIMUM)
		complain(reading, value, "%s: no type of file system has the name '%.*s'", what,
			 SHOWN, files->filesystem);
}

static void read_files_device(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	struct policy_files *files = target;
	struct error error;
	const char *text = text_of(reading, value, what);
	files->criteria |= POLICY_BY_DEVICE;
	if (text && !policy_parse_device(text, &files->device, &error))
		complain(reading, value, "%s: %s", what, error.message);
}

static void read_files_inode(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	struct policy_files *files = target;
	files->criteria |= POLICY_BY_INODE;
	number_of(reading, value, what, UINT64_MAX, &files->inode);
}

static void read_files_owner(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	struct policy_files *files = target;
	uint64_t number = 0;
	files->criteria |= POLICY_BY_OWNER;
	number_of(reading, value, what, UINT32_MAX - 1, &number);
	files->owner = (uint32_t)number;
}

static void read_files_group(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	struct policy_files *files = target;
	uint64_t number = 0;
	files->criteria |= POLICY_BY_GROUP;
	number_of(reading, value, what, UINT32_MAX - 1, &number);
	files->group = (uint32_t)number;
}

static const struct key files_keys[] = {
	{"path", read_files_path, false},
	{"filesystem", read_files_filesystem, false},
	{"device", read_files_device, false},
	{"inode", read_files_inode, false},
	{"owner", read_files_owner, false},
	{"group", read_files_group, false},
	{0},
};

// A row of "files": a mapping of criteria, or a glob alone.
static void read_files(struct reading *reading, const yaml_node_t *value, const char *what,
		       void *target)
{
	struct policy_files *files = target;
	*files = (struct policy_files){.path = "", .filesystem = ""};
	if (++reading->files == POLICY_FILES_MAXIMUM + 1)
		complain(reading, value, "the labels have more than %d entries of 'files'",
			 POLICY_FILES_MAXIMUM);
	if (value->type == YAML_SCALAR_NODE) {
		read_files_path(reading, value, "an entry of 'files'", files);
		return;
	}
	read_mapping(reading, value, "an entry of 'files'", files_keys, files);
	if (!files->criteria)
		complain(reading, value,
			 "an entry of 'files' says nothing about the files: add a "
			 "path, filesystem, device, owner or group");
	if (files->criteria & POLICY_BY_INODE && !(files->criteria & POLICY_BY_DEVICE))
		complain(reading, value,
			 "'inode' needs a 'device': numbers repeat on every file system");
}

static void read_label_name(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	struct policy_label *label = target;
	read_name(reading, value, what, label->name);
	for (size_t i = 0; &reading->policy->labels[i] < label; i++)
		if (*label->name && strcmp(reading->policy->labels[i].name, label->name) == 0)
			complain(reading, value,
				 "the label '%s' was defined above already: put all "
				 "its 'files' into one",
				 label->name);
	if (strncmp(label->name, "label-", 6) == 0)
		complain(
			reading, value,
			"'%s': names that begin with \"label-\" are those of labels without a name",
			label->name);
}

static void read_label_files(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	struct policy_label *label = target;
	label->files = read_list(reading, value, what, true, sizeof(*label->files),
				 POLICY_FILES_MAXIMUM, read_files, &label->file_count);
}

static void read_label_vms(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	struct policy_label *label = target;
	read_texts(reading, value, what, read_text, &label->vms);
}

static const struct key label_keys[] = {
	{"name", read_label_name, true},
	{"files", read_label_files, true},
	{"vms", read_label_vms, false},
	{0},
};

static void read_label(struct reading *reading, const yaml_node_t *value, const char *what,
		       void *target)
{
	// So that the names before this one are known.
	if (!reading->policy->labels)
		reading->policy->labels = target;
	read_mapping(reading, value, "a label", label_keys, target);
}

static void read_labels(struct reading *reading, const yaml_node_t *value)
{
	struct policy *policy = reading->policy;
	policy->labels = NULL;
	policy->labels = read_list(reading, value, "'labels'", false, sizeof(*policy->labels),
				   POLICY_LABELS_MAXIMUM, read_label, &policy->label_count);
}

// "classified" is what `nijimi run --classified` says; it exists without being mentioned.
static void add_classified(struct reading *reading, const yaml_node_t *root)
{
	struct policy *policy = reading->policy;
	for (size_t i = 0; i < policy->label_count; i++)
		if (strcmp(policy->labels[i].name, "classified") == 0)
			return;
	if (policy->label_count == POLICY_LABELS_MAXIMUM) {
		complain(reading, root,
			 "there are %d labels beside \"classified\", which always exists: %d are "
			 "the most",
			 POLICY_LABELS_MAXIMUM, POLICY_LABELS_MAXIMUM - 1);
		return;
	}
	if (!policy->labels) // else there is room behind the last
		policy->labels = allocate(reading, sizeof(*policy->labels));
	if (policy->labels)
		strcpy(policy->labels[policy->label_count++].name, "classified");
}

// Networks -----------------------------------------------------------------------------------

static void read_addresses(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	struct error error;
	const char *text = text_of(reading, value, what);
	if (text && !policy_parse_addresses(text, target, &error))
		complain(reading, value, "%s: %s", what, error.message);
}

static void read_network_name(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	read_name(reading, value, what, ((struct policy_network *)target)->name);
}

static void read_network_addresses(struct reading *reading, const yaml_node_t *value,
				   const char *what, void *target)
{
	struct policy_network *network = target;
	network->addresses =
		read_list(reading, value, what, true, sizeof(*network->addresses),
			  POLICY_LIST_MAXIMUM, read_addresses, &network->address_count);
}

static const struct key network_keys[] = {
	{"name", read_network_name, true},
	{"addresses", read_network_addresses, true},
	{0},
};

static void read_network(struct reading *reading, const yaml_node_t *value, const char *what,
			 void *target)
{
	read_mapping(reading, value, "a network", network_keys, target);
}

static void read_networks(struct reading *reading, const yaml_node_t *value)
{
	struct policy *policy = reading->policy;
	policy->networks = read_list(reading, value, "'networks'", false, sizeof(*policy->networks),
				     POLICY_NETWORKS_MAXIMUM, read_network, &policy->network_count);
}

// Sinks --------------------------------------------------------------------------------------

static void read_sink_name(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	struct policy_sink *sink = target;
	read_name(reading, value, what, sink->name);
	for (size_t i = 0; &reading->policy->sinks[i] < sink; i++)
		if (*sink->name && strcmp(reading->policy->sinks[i].name, sink->name) == 0)
			complain(reading, value,
				 "the sink '%s' was defined above already: choose another name",
				 sink->name);
}

static void read_sink_kind(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	struct policy_sink *sink = target;
	const char *text = text_of(reading, value, what);
	for (int kind = 0; text && kind < POLICY_SINK_KINDS; kind++) {
		if (strcmp(policy_sink_kind_name((enum policy_sink_kind)kind), text) == 0) {
			sink->kind = (enum policy_sink_kind)kind;
			return;
		}
	}
	if (text)
		complain(reading, value,
			 "unknown kind of sink '%.*s': there are inet, vsock, packets, filesystem, "
			 "block, character, program, removable",
			 SHOWN, text);
}

static bool is_in_network(const struct policy *policy, const struct policy_addresses *addresses,
			  const char **name)
{
	for (size_t i = 0; i < policy->network_count; i++) {
		const struct policy_network *network = &policy->networks[i];
		for (size_t j = 0; j < network->address_count; j++) {
			*name = network->name;
			if (network->addresses[j].prefix <= addresses->prefix &&
			    policy_contains(&network->addresses[j], addresses->address))
				return true;
		}
	}
	return false;
}

static void read_sink_address(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	struct policy_addresses *addresses = target;
	const char *text = text_of(reading, value, what), *network;
	struct error error;
	if (!text)
		return;
	if (!policy_parse_addresses(text, addresses, &error))
		complain(reading, value, "%s: %s", what, error.message);
	else if (is_in_network(reading->policy, addresses, &network))
		complain(reading, value,
			 "%s: '%.*s' lies in the network '%s', and what is in a named network is "
			 "inside: it would never be a sink",
			 what, SHOWN, text, network);
}

static void read_sink_to(struct reading *reading, const yaml_node_t *value, const char *what,
			 void *target)
{
	struct policy_sink *sink = target;
	sink->to = read_list(reading, value, what, true, sizeof(*sink->to), POLICY_LIST_MAXIMUM,
			     read_sink_address, &sink->to_count);
}

static void read_port(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	struct error error;
	const char *text = text_of(reading, value, what);
	if (text && !policy_parse_ports(text, target, &error))
		complain(reading, value, "%s: %s", what, error.message);
}

static void read_sink_ports(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	struct policy_sink *sink = target;
	sink->ports = read_list(reading, value, what, true, sizeof(*sink->ports),
				POLICY_LIST_MAXIMUM, read_port, &sink->port_count);
}

static void read_sink_protocol(struct reading *reading, const yaml_node_t *value, const char *what,
			       void *target)
{
	struct policy_sink *sink = target;
	const char *text = text_of(reading, value, what);
	if (text && strcmp(text, "tcp") == 0)
		sink->protocols = POLICY_TCP;
	else if (text && strcmp(text, "udp") == 0)
		sink->protocols = POLICY_UDP;
	else if (text)
		complain(reading, value,
			 "unknown protocol '%.*s': there are tcp and udp; without 'protocol' all "
			 "are meant",
			 SHOWN, text);
}

static void read_type(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	read_text(reading, value, what, target);
	if (strchr(*(const char **)target, '/'))
		complain(reading, value,
			 "%s: '%.*s' is no type of file system (nfs4, cifs, 9p, fuse*, ...); where "
			 "it is mounted is said with 'paths'",
			 what, SHOWN, *(const char **)target);
}

static void read_sink_types(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	read_texts(reading, value, what, read_type, &((struct policy_sink *)target)->types);
}

static void read_sink_paths(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	read_texts(reading, value, what, read_glob, &((struct policy_sink *)target)->paths);
}

static void read_sink_except(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	read_texts(reading, value, what, read_glob, &((struct policy_sink *)target)->except);
}

static void read_sink_programs(struct reading *reading, const yaml_node_t *value, const char *what,
			       void *target)
{
	read_texts(reading, value, what, read_glob, &((struct policy_sink *)target)->programs);
}

enum {
	SINK_NAME,
	SINK_KIND,
	SINK_TO,
	SINK_PORTS,
	SINK_PROTOCOL,
	SINK_TYPES,
	SINK_PATHS,
	SINK_EXCEPT,
	SINK_PROGRAMS
};

static const struct key sink_keys[] = {
	[SINK_NAME] = {"name", read_sink_name, true},
	[SINK_KIND] = {"kind", read_sink_kind, true},
	[SINK_TO] = {"to", read_sink_to, false},
	[SINK_PORTS] = {"ports", read_sink_ports, false},
	[SINK_PROTOCOL] = {"protocol", read_sink_protocol, false},
	[SINK_TYPES] = {"types", read_sink_types, false},
	[SINK_PATHS] = {"paths", read_sink_paths, false},
	[SINK_EXCEPT] = {"except", read_sink_except, false},
	[SINK_PROGRAMS] = {"programs", read_sink_programs, false},
	{0},
};

// Pseudo-terminals lead to another process, which is followed.
static const char *const terminals[] = {"/dev/pts/**", "/dev/ptmx", "/dev/ptmx/**"};

static void set_sink_defaults(struct policy_sink *sink)
{
	if (sink->kind == POLICY_SINK_FILESYSTEM && !sink->types.count)
		sink->types = (struct policy_texts){shared_filesystems, shared_filesystem_count};
	if (sink->kind == POLICY_SINK_CHARACTER && !sink->paths.count && !sink->except.count)
		sink->except =
			(struct policy_texts){terminals, sizeof(terminals) / sizeof(terminals[0])};
}

static void read_sink(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	static const uint64_t allowed[POLICY_SINK_KINDS] = {
		[POLICY_SINK_INET] = 1 << SINK_TO | 1 << SINK_PORTS | 1 << SINK_PROTOCOL,
		[POLICY_SINK_FILESYSTEM] = 1 << SINK_TYPES | 1 << SINK_PATHS | 1 << SINK_EXCEPT,
		[POLICY_SINK_BLOCK] = 1 << SINK_PATHS | 1 << SINK_EXCEPT,
		[POLICY_SINK_CHARACTER] = 1 << SINK_PATHS | 1 << SINK_EXCEPT,
		[POLICY_SINK_PROGRAM] = 1 << SINK_PROGRAMS | 1 << SINK_EXCEPT,
		[POLICY_SINK_REMOVABLE] = 1 << SINK_PATHS | 1 << SINK_EXCEPT,
	};
	struct policy_sink *sink = target;
	if (!reading->policy->sinks)
		reading->policy->sinks = sink;
	sink->kind = POLICY_SINK_KINDS;
	uint64_t seen = read_mapping(reading, value, "a sink", sink_keys, sink);
	if (sink->kind == POLICY_SINK_KINDS)
		return; // said
	for (int key = SINK_TO; key <= SINK_PROGRAMS; key++)
		if (seen & 1ull << key && !(allowed[sink->kind] & 1ull << key))
			complain(reading, value, "a sink of kind %s has no '%s': remove it",
				 policy_sink_kind_name(sink->kind), sink_keys[key].name);
	set_sink_defaults(sink);
}

static void read_sinks(struct reading *reading, const yaml_node_t *value)
{
	struct policy *policy = reading->policy;
	policy->sinks = NULL;
	policy->sinks = read_list(reading, value, "'sinks'", false, sizeof(*policy->sinks),
				  POLICY_SINKS_MAXIMUM, read_sink, &policy->sink_count);
}

// Rules --------------------------------------------------------------------------------------

static size_t label_index(const struct policy *policy, const char *name)
{
	size_t i = 0;
	while (i < policy->label_count && strcmp(policy->labels[i].name, name) != 0)
		i++;
	return i;
}

static size_t sink_index(const struct policy *policy, const char *name)
{
	size_t i = 0;
	while (i < policy->sink_count && strcmp(policy->sinks[i].name, name) != 0)
		i++;
	return i;
}

struct reference {
	const yaml_node_t *node;
	const char *text;
};

static void read_reference(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	*(struct reference *)target = (struct reference){value, text_of(reading, value, what)};
}

// Names, or "*", as a set of indices.
static uint64_t read_names(struct reading *reading, const yaml_node_t *value, const char *what,
			   const char *section, size_t known,
			   size_t (*find)(const struct policy *policy, const char *name))
{
	size_t count;
	uint64_t set = 0;
	struct reference *names = read_list(reading, value, what, true, sizeof(*names),
					    POLICY_LIST_MAXIMUM, read_reference, &count);
	for (size_t i = 0; names && i < count; i++) {
		if (!names[i].text)
			continue;
		if (strcmp(names[i].text, "*") == 0) {
			set = UINT64_MAX;
			continue;
		}
		size_t index = find(reading->policy, names[i].text);
		if (index < known)
			set |= 1ull << index;
		else
			complain(
				reading, names[i].node,
				"%s: '%.*s' is not defined: add it to '%s', or write \"*\" for all",
				what, SHOWN, names[i].text, section);
	}
	return set;
}

static void read_rule_label(struct reading *reading, const yaml_node_t *value, const char *what,
			    void *target)
{
	((struct policy_rule *)target)->labels = read_names(
		reading, value, what, "labels", reading->policy->label_count, label_index);
}

static void read_rule_sink(struct reading *reading, const yaml_node_t *value, const char *what,
			   void *target)
{
	((struct policy_rule *)target)->sinks =
		read_names(reading, value, what, "sinks", reading->policy->sink_count, sink_index);
}

static void read_rule_program(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	read_texts(reading, value, what, read_glob, &((struct policy_rule *)target)->programs);
}

static void read_rule_action(struct reading *reading, const yaml_node_t *value, const char *what,
			     void *target)
{
	struct policy_rule *rule = target;
	const char *text = text_of(reading, value, what);
	if (!text)
		return;
	if (strcmp(text, "allow") == 0)
		rule->action = POLICY_ALLOW;
	else if (strcmp(text, "alert") == 0)
		rule->action = POLICY_ALERT;
	else if (strcmp(text, "block") == 0)
		rule->action = POLICY_BLOCK;
	else
		complain(reading, value, "unknown action '%.*s': there are allow, alert and block",
			 SHOWN, text);
}

static const struct key rule_keys[] = {
	{"label", read_rule_label, true},
	{"sink", read_rule_sink, true},
	{"program", read_rule_program, false},
	{"action", read_rule_action, true},
	{0},
};

static void read_rule(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	struct policy_rule *rule = target;
	rule->line = (unsigned int)value->start_mark.line + 1;
	read_mapping(reading, value, "a rule", rule_keys, rule);
}

static void read_rules(struct reading *reading, const yaml_node_t *value)
{
	struct policy *policy = reading->policy;
	policy->rules = read_list(reading, value, "'rules'", false, sizeof(*policy->rules),
				  POLICY_RULES_MAXIMUM, read_rule, &policy->rule_count);
}

// Alerts -------------------------------------------------------------------------------------

static void read_delivery_kind(struct reading *reading, const yaml_node_t *value, const char *what,
			       void *target)
{
	struct policy_delivery *delivery = target;
	const char *text = text_of(reading, value, what);
	for (int kind = 0; text && kind < POLICY_DELIVERY_KINDS; kind++) {
		if (strcmp(policy_delivery_name((enum policy_delivery_kind)kind), text) == 0) {
			delivery->kind = (enum policy_delivery_kind)kind;
			return;
		}
	}
	if (text)
		complain(reading, value,
			 "alerts cannot be delivered to '%.*s': there are journald, syslog, file, "
			 "command, webhook",
			 SHOWN, text);
}

static void read_delivery_path(struct reading *reading, const yaml_node_t *value, const char *what,
			       void *target)
{
	struct policy_delivery *delivery = target;
	read_text(reading, value, what, &delivery->target);
	if (*delivery->target && *delivery->target != '/')
		complain(reading, value, "%s: '%.*s' is not absolute: begin it with '/'", what,
			 SHOWN, delivery->target);
}

static void read_delivery_url(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	struct policy_delivery *delivery = target;
	read_text(reading, value, what, &delivery->target);
	if (*delivery->target && strncmp(delivery->target, "https://", 8) != 0 &&
	    strncmp(delivery->target, "http://", 7) != 0)
		complain(reading, value, "%s: '%.*s' has to begin with https:// or http://", what,
			 SHOWN, delivery->target);
}

static void read_delivery_command(struct reading *reading, const yaml_node_t *value,
				  const char *what, void *target)
{
	struct policy_delivery *delivery = target;
	struct policy_texts words = {0};
	read_texts(reading, value, what, read_text, &words); // one more, NULL, stands behind them
	delivery->command = words.text;
	if (words.count && *words.text[0] && *words.text[0] != '/')
		complain(reading, value,
			 "%s: the program '%.*s' has to be an absolute path (no shell is used; "
			 "write "
			 "arguments as a list)",
			 what, SHOWN, words.text[0]);
}

static void read_delivery_headers(struct reading *reading, const yaml_node_t *value,
				  const char *what, void *target)
{
	struct policy_delivery *delivery = target;
	read_texts(reading, value, what, read_text, &delivery->headers);
	for (size_t i = 0; i < delivery->headers.count; i++)
		if (*delivery->headers.text[i] && !strchr(delivery->headers.text[i], ':'))
			complain(reading, value, "%s: '%.*s' is no header: write \"Name: value\"",
				 what, SHOWN, delivery->headers.text[i]);
}

static void read_delivery_timeout(struct reading *reading, const yaml_node_t *value,
				  const char *what, void *target)
{
	struct policy_delivery *delivery = target;
	uint64_t seconds = TIMEOUT_SECONDS;
	if (number_of(reading, value, what, TIMEOUT_MAXIMUM, &seconds) && seconds == 0)
		complain(reading, value, "%s has to be 1 at least", what);
	delivery->timeout = (unsigned int)seconds;
}

enum {
	DELIVERY_TO,
	DELIVERY_PATH,
	DELIVERY_COMMAND,
	DELIVERY_URL,
	DELIVERY_HEADERS,
	DELIVERY_TIMEOUT
};

static const struct key delivery_keys[] = {
	[DELIVERY_TO] = {"to", read_delivery_kind, true},
	[DELIVERY_PATH] = {"path", read_delivery_path, false},
	[DELIVERY_COMMAND] = {"command", read_delivery_command, false},
	[DELIVERY_URL] = {"url", read_delivery_url, false},
	[DELIVERY_HEADERS] = {"headers", read_delivery_headers, false},
	[DELIVERY_TIMEOUT] = {"timeout", read_delivery_timeout, false},
	{0},
};

// Which keys a way of delivery has, and which of them it needs.
static const struct {
	uint64_t allowed, needed;
} delivery_needs[POLICY_DELIVERY_KINDS] = {
	[POLICY_TO_FILE] = {1 << DELIVERY_PATH, 1 << DELIVERY_PATH},
	[POLICY_TO_COMMAND] = {1 << DELIVERY_COMMAND | 1 << DELIVERY_TIMEOUT,
			       1 << DELIVERY_COMMAND},
	[POLICY_TO_WEBHOOK] = {1 << DELIVERY_URL | 1 << DELIVERY_HEADERS | 1 << DELIVERY_TIMEOUT,
			       1 << DELIVERY_URL},
};

static void read_delivery(struct reading *reading, const yaml_node_t *value, const char *what,
			  void *target)
{
	struct policy_delivery *delivery = target;
	uint64_t seen = 1 << DELIVERY_TO;
	*delivery = (struct policy_delivery){
		.kind = POLICY_DELIVERY_KINDS, .target = "", .timeout = TIMEOUT_SECONDS};
	if (value->type == YAML_SCALAR_NODE)
		read_delivery_kind(reading, value, what, delivery);
	else
		seen = read_mapping(reading, value, "an entry of 'deliver'", delivery_keys,
				    delivery);
	if (delivery->kind == POLICY_DELIVERY_KINDS)
		return; // said
	for (int key = DELIVERY_PATH; key <= DELIVERY_TIMEOUT; key++) {
		bool allowed = delivery_needs[delivery->kind].allowed & 1ull << key;
		if (seen & 1ull << key && !allowed)
			complain(reading, value, "the delivery to %s has no '%s': remove it",
				 policy_delivery_name(delivery->kind), delivery_keys[key].name);
		if (!(seen & 1ull << key) && delivery_needs[delivery->kind].needed & 1ull << key)
			complain(reading, value, "the delivery to %s needs a '%s'",
				 policy_delivery_name(delivery->kind), delivery_keys[key].name);
	}
}

static void read_alerts_limit(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	uint64_t number = ALERTS_A_MINUTE;
	if (number_of(reading, value, what, 1000000, &number) && number == 0)
		complain(reading, value, "%s has to be 1 at least, or no alert is ever delivered",
			 what);
	reading->policy->alerts_a_minute = (uint32_t)number;
}

static void read_alerts_repeat(struct reading *reading, const yaml_node_t *value, const char *what,
			       void *target)
{
	uint64_t number = REPEAT_SECONDS;
	number_of(reading, value, what, 365 * 86400, &number);
	reading->policy->repeat_seconds = (uint32_t)number;
}

static void read_alerts_deliver(struct reading *reading, const yaml_node_t *value, const char *what,
				void *target)
{
	struct policy *policy = reading->policy;
	policy->deliveries =
		read_list(reading, value, what, true, sizeof(*policy->deliveries),
			  POLICY_DELIVERIES_MAXIMUM, read_delivery, &policy->delivery_count);
}

static const struct key alerts_keys[] = {
	{"limit", read_alerts_limit, false},
	{"repeat", read_alerts_repeat, false},
	{"deliver", read_alerts_deliver, false},
	{0},
};

// Enforcement --------------------------------------------------------------------------------

static void read_failure(struct reading *reading, const yaml_node_t *value, const char *what,
			 void *target)
{
	const char *text = text_of(reading, value, what);
	if (text && strcmp(text, "closed") == 0)
		reading->policy->fail_closed = true;
	else if (text && strcmp(text, "open") != 0)
		complain(reading, value,
			 "%s: unknown value '%.*s': there are open (a VM whose calls cannot be "
			 "refused any more runs on) and closed (it is stopped)",
			 what, SHOWN, text);
}

static const struct key enforcement_keys[] = {
	{"failure", read_failure, false},
	{0},
};

// Boundaries ---------------------------------------------------------------------------------

static void read_boundary_program(struct reading *reading, const yaml_node_t *value,
				  const char *what, void *target)
{
	read_texts(reading, value, what, read_glob, &((struct policy_boundary *)target)->programs);
}

static void read_boundary_labels(struct reading *reading, const yaml_node_t *value,
				 const char *what, void *target)
{
	((struct policy_boundary *)target)->labels = read_names(
		reading, value, what, "labels", reading->policy->label_count, label_index);
}

static void read_boundary_vms(struct reading *reading, const yaml_node_t *value, const char *what,
			      void *target)
{
	read_texts(reading, value, what, read_text, &((struct policy_boundary *)target)->vms);
}

static const struct key boundary_keys[] = {
	{"program", read_boundary_program, true},
	{"labels", read_boundary_labels, false},
	{"vms", read_boundary_vms, false},
	{0},
};

static void read_boundary(struct reading *reading, const yaml_node_t *value, const char *what,
			  void *target)
{
	struct policy_boundary *boundary = target;
	boundary->labels = UINT64_MAX;
	read_mapping(reading, value, "a boundary", boundary_keys, boundary);
	size_t labels = boundary->labels == UINT64_MAX
				? 1
				: (size_t)__builtin_popcountll(boundary->labels);
	size_t before = reading->boundary_rows;
	reading->boundary_rows += labels * boundary->programs.count;
	if (before <= POLICY_BOUNDARY_ROWS_MAXIMUM &&
	    reading->boundary_rows > POLICY_BOUNDARY_ROWS_MAXIMUM)
		complain(reading, value,
			 "there are more than %d pairs of a program and a label in 'boundaries': "
			 "use globs, or leave 'labels' out",
			 POLICY_BOUNDARY_ROWS_MAXIMUM);
}

static void read_boundaries(struct reading *reading, const yaml_node_t *value)
{
	struct policy *policy = reading->policy;
	policy->boundaries = read_list(reading, value, "'boundaries'", false,
				       sizeof(*policy->boundaries), POLICY_BOUNDARIES_MAXIMUM,
				       read_boundary, &policy->boundary_count);
}

// The whole ----------------------------------------------------------------------------------

static void keep_node(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target);

enum {
	ROOT_VERSION,
	ROOT_LABELS,
	ROOT_NETWORKS,
	ROOT_SINKS,
	ROOT_RULES,
	ROOT_ALERTS,
	ROOT_ENFORCEMENT,
	ROOT_BOUNDARIES,
	ROOT_KEYS
};

static const struct key root_keys[] = {
	[ROOT_VERSION] = {"version", keep_node, true},
	[ROOT_LABELS] = {"labels", keep_node, false},
	[ROOT_NETWORKS] = {"networks", keep_node, false},
	[ROOT_SINKS] = {"sinks", keep_node, false},
	[ROOT_RULES] = {"rules", keep_node, false},
	[ROOT_ALERTS] = {"alerts", keep_node, false},
	[ROOT_ENFORCEMENT] = {"enforcement", keep_node, false},
	[ROOT_BOUNDARIES] = {"boundaries", keep_node, false},
	{0},
};

// Read later: rules name labels and sinks, wherever those stand.
static void keep_node(struct reading *reading, const yaml_node_t *value, const char *what,
		      void *target)
{
	const yaml_node_t **nodes = target;
	for (int key = 0; key < ROOT_KEYS; key++)
		if (strncmp(what + 1, root_keys[key].name, strlen(root_keys[key].name)) == 0)
			nodes[key] = value;
}

static void check_version(struct reading *reading, const yaml_node_t *value)
{
	const char *text = text_of(reading, value, "'version'");
	if (text && strcmp(text, "1") != 0)
		complain(
			reading, value,
			"this nijimi knows version 1 of policies, not '%.*s': write \"version: 1\"",
			SHOWN, text);
}

static void read_root(struct reading *reading, const yaml_node_t *root)
{
	const yaml_node_t *nodes[ROOT_KEYS] = {NULL};
	read_mapping(reading, root, "the policy", root_keys, nodes);
	if (nodes[ROOT_VERSION])
		check_version(reading, nodes[ROOT_VERSION]);
	if (nodes[ROOT_LABELS])
		read_labels(reading, nodes[ROOT_LABELS]);
	add_classified(reading, nodes[ROOT_LABELS] ? nodes[ROOT_LABELS] : root);
	if (nodes[ROOT_NETWORKS])
		read_networks(reading, nodes[ROOT_NETWORKS]);
	if (nodes[ROOT_SINKS])
		read_sinks(reading, nodes[ROOT_SINKS]);
	if (nodes[ROOT_RULES])
		read_rules(reading, nodes[ROOT_RULES]);
	if (nodes[ROOT_BOUNDARIES])
		read_boundaries(reading, nodes[ROOT_BOUNDARIES]);
	if (nodes[ROOT_ALERTS])
		read_mapping(reading, nodes[ROOT_ALERTS], "'alerts'", alerts_keys, NULL);
	if (nodes[ROOT_ENFORCEMENT])
		read_mapping(reading, nodes[ROOT_ENFORCEMENT], "'enforcement'", enforcement_keys,
			     NULL);
}

static void explain_syntax(const yaml_parser_t *parser, struct policy_problems *problems)
{
	const yaml_mark_t *mark = &parser->problem_mark;
	const char *what = parser->problem ? parser->problem : "it cannot be read";
	if (parser->error == YAML_MEMORY_ERROR)
		what = "no memory";
	if (parser->error == YAML_READER_ERROR)
		complain_at(problems, 0, 0,
			    "this is no YAML: %s, at byte %zu (the file has to be "
			    "plain text in UTF-8)",
			    what, parser->problem_offset);
	else
		complain_at(
			problems, mark->line, mark->column,
			"this is no YAML: %s%s%s (indent with spaces; quote values that contain "
			"': ' or begin with one of *&!%%@`)",
			what, parser->context ? ", " : "", parser->context ? parser->context : "");
}

static bool only_one_document(yaml_parser_t *parser, struct policy_problems *problems)
{
	yaml_document_t next;
	if (!yaml_parser_load(parser, &next)) {
		explain_syntax(parser, problems);
		return false;
	}
	const yaml_node_t *root = yaml_document_get_root_node(&next);
	if (root)
		complain_at(problems, root->start_mark.line, root->start_mark.column,
			    "a second YAML document begins here: a policy is one");
	yaml_document_delete(&next);
	return !root;
}

static void read_document(struct reading *reading, yaml_parser_t *parser)
{
	if (!yaml_parser_load(parser, &reading->document)) {
		explain_syntax(parser, reading->problems);
		return;
	}
	const yaml_node_t *root = yaml_document_get_root_node(&reading->document);
	if (!root) {
		complain_at(reading->problems, 0, 0,
			    "the policy is empty: the least is \"version: 1\"");
	} else {
		read_root(reading, root);
		only_one_document(parser, reading->problems);
	}
	yaml_document_delete(&reading->document);
}

struct policy *policy_parse(const char *text, size_t length, struct policy_problems *problems)
{
	yaml_parser_t parser;
	struct reading reading = {.problems = problems};
	reading.policy = calloc(1, sizeof(*reading.policy));
	if (!reading.policy || !yaml_parser_initialize(&parser)) {
		complain_at(problems, 0, 0, "no memory for a policy");
		free(reading.policy);
		return NULL;
	}
	reading.policy->alerts_a_minute = ALERTS_A_MINUTE;
	reading.policy->repeat_seconds = REPEAT_SECONDS;
	if (length > POLICY_TEXT_MAXIMUM) {
		complain_at(problems, 0, 0, "the policy is longer than %d bytes",
			    POLICY_TEXT_MAXIMUM);
	} else {
		yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
		yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
		read_document(&reading, &parser);
	}
	yaml_parser_delete(&parser);
	if (reading.no_memory)
		complain_at(problems, 0, 0, "no memory for a policy");
	if (problems->count == 0 && problems->left_out == 0)
		return reading.policy;
	if (problems->count > 0)
		qsort(problems->items, problems->count, sizeof(*problems->items), compare_problems);
	policy_destroy(reading.policy);
	return NULL;
}

static char *read_whole(const char *path, size_t *length, struct error *error)
{
	struct stat status;
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status) != 0) {
		error_set_errno(error, "cannot read the policy %s", path);
		return NULL;
	}
	if (!S_ISREG(status.st_mode)) {
		error_set(error, ERROR_INVALID, "the policy %s is not a regular file", path);
		return NULL;
	}
	cleanup_free char *text = malloc(POLICY_TEXT_MAXIMUM + 1);
	if (!text) {
		error_set(error, ERROR_MEMORY, "no memory for the policy %s", path);
		return NULL;
	}
	for (*length = 0; *length <= POLICY_TEXT_MAXIMUM;) {
		ssize_t got = read(fd, text + *length, POLICY_TEXT_MAXIMUM + 1 - *length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			error_set_errno(error, "cannot read the policy %s", path);
			return NULL;
		}
		if (got == 0)
			break;
		*length += (size_t)got;
	}
	return take_pointer(text);
}

struct policy *policy_load(const char *path, struct policy_problems *problems, struct error *error)
{
	size_t length;
	cleanup_free char *text = read_whole(path, &length, error);
	if (!text)
		return NULL;
	struct policy *policy = policy_parse(text, length, problems);
	if (!policy)
		error_set(error, ERROR_INVALID, "the policy %s has %zu error%s", path,
			  problems->count + problems->left_out,
			  problems->count + problems->left_out == 1 ? "" : "s");
	return policy;
}
