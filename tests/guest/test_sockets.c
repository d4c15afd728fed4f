/* SPDX-License-Identifier: GPL-2.0-or-later */
/** Sockets of recorded guests, compared with what their own kernels said in /proc/net. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "frozen.h"

static const uint8_t established = 1, listening = 10; // include/net/tcp_states.h

static struct guest_socket peer_of(const struct guest_socket *socket)
{
	struct guest_socket peer;
	assert_read(guest_socket_read(&frozen.kernel, socket->local.peer, &peer));
	assert_int_equal(peer.sock, socket->local.peer);
	return peer;
}

static void assert_pair(const struct guest_socket *one, const struct guest_socket *other)
{
	struct guest_socket peer = peer_of(one);
	assert_int_equal(peer.sock, other->sock);
	assert_int_equal(peer.inode, other->inode);
	assert_int_equal(peer.inode_number, other->inode_number);
	assert_int_equal(peer.device, other->device);
	assert_int_equal(other->local.peer, one->sock);
}

static void assert_name(const struct guest_socket *socket, const char *name, size_t length)
{
	assert_int_equal(socket->local.name_length, length);
	assert_memory_equal(socket->local.name, name, length);
}

static void unix_peers_are_found(void **state)
{
	struct guest_task task = frozen_task("unix");
	struct guest_socket listener = frozen_socket(&task, 10), client = frozen_socket(&task, 11),
			    accepted = frozen_socket(&task, 12);
	assert_int_equal(listener.local.peer, 0);
	assert_int_equal(listener.state, listening);
	assert_int_equal(client.state, established);
	assert_pair(&client, &accepted);
	assert_pair(&accepted, &client);
	assert_name(&accepted, "/data/socket", 12);
	assert_name(&client, "", 0);

	// Nobody has accepted this one: it has a sock, no socket.
	struct guest_socket early = frozen_socket(&task, 13), waiting = peer_of(&early);
	assert_int_equal(waiting.inode, 0);
	assert_int_equal(waiting.inode_number, 0);
	assert_int_equal(waiting.local.peer, early.sock);
	assert_name(&waiting, "/data/socket", 12);

	struct guest_socket one = frozen_socket(&task, 15), other = frozen_socket(&task, 16);
	assert_pair(&one, &other);
	assert_int_equal(one.type, SOCK_SEQPACKET);
	assert_name(&other, "\0nijimi-abstract", 16);
	one = frozen_socket(&task, 60);
	other = frozen_socket(&task, 61);
	assert_pair(&one, &other);
	assert_pair(&other, &one);

	// A datagram socket's peer need not know it.
	struct guest_socket server = frozen_socket(&task, 17), sender = frozen_socket(&task, 18);
	assert_int_equal(peer_of(&sender).sock, server.sock);
	assert_int_equal(server.local.peer, 0);
	assert_int_equal(server.type, SOCK_DGRAM);
	assert_int_equal(server.network_namespace, client.network_namespace);
}

static void unix_names_lead_to_inodes(void **state)
{
	struct guest_task task = frozen_task("unix");
	struct guest_socket stream = frozen_socket(&task, 10), abstract = frozen_socket(&task, 14),
			    full = frozen_socket(&task, 30), chosen = frozen_socket(&task, 31),
			    removed = frozen_socket(&task, 32);
	struct guest_lookup found;
	struct guest_file file;
	assert_read(guest_lookup_path(&frozen.kernel, &task, 0, "/data/socket", false, &found));
	assert_read(guest_inode_read(&frozen.kernel, found.dentry, found.mount, &file));
	assert_int_equal(stream.local.bound_inode_number, file.inode_number);
	assert_int_equal(stream.local.bound_device, file.device);
	// The name of a socket is no socket.
	assert_int_equal(guest_socket_of_file(&frozen.kernel, &file, &stream), GUEST_NOT_FOUND);

	assert_int_equal(abstract.local.bound_inode_number, 0);
	assert_int_equal(full.local.name_length, 108);
	assert_memory_equal(full.local.name, "/mnt/memory/uuuuu", 17);
	assert_int_equal(full.local.name[107], 'u');
	assert_int_equal(chosen.local.name_length, 6);
	assert_int_equal(chosen.local.name[0], '\0');
	assert_name(&removed, "/mnt/memory/removed", 19);
	assert_int_not_equal(removed.local.bound_inode_number, 0);
}

static struct guest_socket all[64];
static uint32_t all_count;

static void take_socket(const struct descriptor_fact *fact)
{
	struct guest_task task;
	uint64_t address;
	if (strncmp(fact->path, "socket:", 7) != 0)
		return;
	assert_true(all_count < 64);
	assert_read(guest_find_process(&frozen.kernel, fact->pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	struct guest_socket socket = frozen_socket(&task, (int)fact->fd);
	assert_int_equal(socket.inode_number, fact->inode);
	assert_int_equal(socket.device, fact->device);
	assert_int_equal(socket.inode, frozen_file(&task, (int)fact->fd).inode);
	all[all_count++] = socket;
}

static const struct guest_socket *by_inode(uint64_t inode)
{
	for (uint32_t i = 0; i < all_count; i++)
		if (all[i].inode_number == inode)
			return &all[i];
	return NULL;
}

static void check_unix_line(const char *line)
{
	unsigned type, state;
	uint64_t inode;
	char name[128] = "";
	assert_true(sscanf(line, "%*x: %*x %*x %*x %x %x %" SCNu64 " %127[^\n]", &type, &state,
			   &inode, name) >= 3);
	const struct guest_socket *socket = by_inode(inode);
	if (!socket)
		return;					      // not accepted
	static const unsigned connected = 3, unconnected = 1; // socket_state of <linux/net.h>
	assert_int_equal(socket->type, type);
	if (socket->type != SOCK_DGRAM)
		assert_int_equal(socket->state == established ? connected : unconnected, state);
	char shown[128];
	memcpy(shown, socket->local.name, socket->local.name_length);
	shown[socket->local.name_length] = '\0';
	if (socket->local.name_length > 0 && shown[0] == '\0')
		shown[0] = '@';
	assert_string_equal(shown, name);
}

static void read_address(const char *text, uint16_t family, uint8_t address[16], uint16_t *port)
{
	unsigned words[4] = {0}, number;
	int count = family == AF_INET ? sscanf(text, "%8x:%4x", &words[0], &number)
				      : sscanf(text, "%8x%8x%8x%8x:%4x", &words[0], &words[1],
					       &words[2], &words[3], &number);
	assert_int_equal(count, family == AF_INET ? 2 : 5);
	memcpy(address, words, 16);
	*port = (uint16_t)number;
}

static void check_inet_line(const char *line, uint16_t family)
{
	char local[64], remote[64];
	uint8_t address[16];
	uint16_t port;
	unsigned state;
	uint64_t inode;
	if (sscanf(line, "%*u: %63s %63s %x %*s %*s %*s %*u %*u %" SCNu64, local, remote, &state,
		   &inode) != 4)
		return; // the heading
	const struct guest_socket *socket = by_inode(inode);
	if (!socket)
		return; // not accepted
	assert_int_equal(socket->family, family);
	assert_int_equal(socket->state, state);
	read_address(local, family, address, &port);
	assert_memory_equal(socket->inet.local_address, address, 16);
	assert_int_equal(socket->inet.local_port, port);
	read_address(remote, family, address, &port);
	assert_memory_equal(socket->inet.remote_address, address, 16);
	assert_int_equal(socket->inet.remote_port, port);
}

static void sockets_are_as_proc_says(void **state)
{
	static const struct {
		const char *name;
		uint16_t family;
	} files[] = {{"net/unix", AF_UNIX},
		     {"net/tcp", AF_INET},
		     {"net/tcp6", AF_INET6},
		     {"net/udp", AF_INET},
		     {"net/udp6", AF_INET6}};
	all_count = 0;
	frozen_for_each_descriptor(take_socket);
	assert_true(all_count >= 28);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		cleanup_fclose FILE *file = recording_facts(&frozen.recording, files[i].name);
		char line[1024];
		assert_non_null(file);
		assert_non_null(fgets(line, sizeof(line), file)); // the heading
		while (fgets(line, sizeof(line), file)) {
			if (files[i].family == AF_UNIX)
				check_unix_line(line);
			else
				check_inet_line(line, files[i].family);
		}
	}
}

static struct listed {
	struct guest_socket connection;
	bool visited;
} listed[64];
static uint32_t listed_count;

static void list_connection(const char *line, uint16_t family)
{
	char local[64], remote[64];
	unsigned state;
	struct listed *entry = &listed[listed_count];
	if (sscanf(line, "%*u: %63s %63s %x", local, remote, &state) != 3 || state == listening)
		return;
	assert_true(++listed_count < sizeof(listed) / sizeof(listed[0]));
	*entry = (struct listed){.connection.family = family};
	read_address(local, family, entry->connection.inet.local_address, &entry->connection.inet.local_port);
	read_address(remote, family, entry->connection.inet.remote_address, &entry->connection.inet.remote_port);
}

static void list_connections(void)
{
	static const struct {
		const char *name;
		uint16_t family;
	} files[] = {{"net/tcp", AF_INET}, {"net/tcp6", AF_INET6}};
	listed_count = 0;
	for (size_t i = 0; i < 2; i++) {
		cleanup_fclose FILE *file = recording_facts(&frozen.recording, files[i].name);
		char line[1024];
		assert_non_null(file);
		while (fgets(line, sizeof(line), file))
			list_connection(line, files[i].family);
	}
}

static bool find_connection(const struct guest_socket *connection, void *context)
{
	for (uint32_t i = 0; i < listed_count; i++)
		if (listed[i].connection.family == connection->family &&
		    memcmp(&listed[i].connection.inet, &connection->inet, sizeof(connection->inet)) == 0) {
			listed[i].visited = true;
			return true;
		}
	fail_msg("a connection from port %u to %u is visited that is not there", connection->inet.local_port,
		 connection->inet.remote_port);
	return false;
}

static bool visit_once(const struct guest_socket *connection, void *context)
{
	++*(uint32_t *)context;
	return false;
}

static void all_connections_are_visited(void **state)
{
	uint32_t visits = 0;
	list_connections();
	assert_true(listed_count >= 6);
	assert_true(guest_has_field(&frozen.kernel, FIELD_net_tcp_hashinfo));
	assert_read(guest_for_each_connection(&frozen.kernel, find_connection, NULL));
	for (uint32_t i = 0; i < listed_count; i++)
		assert_true(listed[i].visited);
	assert_read(guest_for_each_connection(&frozen.kernel, visit_once, &visits));
	assert_int_equal(visits, 1);
}

static bool keep_connection(const struct guest_socket *connection, void *context)
{
	*(struct guest_socket *)context = *connection;
	return true;
}

static void assert_mirrored(const struct guest_socket *one, const struct guest_socket *other)
{
	assert_memory_equal(one->inet.local_address, other->inet.remote_address, 16);
	assert_memory_equal(one->inet.remote_address, other->inet.local_address, 16);
	assert_int_equal(one->inet.local_port, other->inet.remote_port);
	assert_int_equal(one->inet.remote_port, other->inet.local_port);
}

static void ends_of_a_connection_mirror_each_other(void **state)
{
	struct guest_task task = frozen_task("inet");
	struct guest_socket one = frozen_socket(&task, 11), other = frozen_socket(&task, 12);
	assert_mirrored(&one, &other);
	assert_int_equal(one.protocol, IPPROTO_TCP);
	assert_int_equal(one.type, SOCK_STREAM);
	one = frozen_socket(&task, 15);
	other = frozen_socket(&task, 16);
	assert_mirrored(&one, &other);
	assert_int_equal(one.family, AF_INET6);

	// Nobody has accepted this one.
	struct guest_socket listener = frozen_socket(&task, 10), established_one = frozen_socket(&task, 12);
	one = frozen_socket(&task, 13);
	assert_read(guest_for_each_unaccepted(&frozen.kernel, listener.sock, 1, keep_connection, &other));
	assert_mirrored(&one, &other);
	assert_int_equal(guest_for_each_unaccepted(&frozen.kernel, listener.sock, 0, keep_connection, &other), GUEST_BOUND);
	assert_read(guest_for_each_unaccepted(&frozen.kernel, established_one.sock, 0, keep_connection, &other));

	// IPv4 on one end, IPv6 on the other.
	static const uint8_t mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
	one = frozen_socket(&task, 17);
	other = frozen_socket(&task, 18);
	assert_int_equal(one.family, AF_INET);
	assert_int_equal(other.family, AF_INET6);
	assert_memory_equal(other.inet.local_address, mapped, 16);
	assert_memory_equal(other.inet.remote_address, mapped, 16);
	assert_memory_equal(one.inet.local_address, mapped + 12, 4);
	assert_int_equal(one.inet.local_port, other.inet.remote_port);
	assert_int_equal(one.inet.remote_port, other.inet.local_port);
}

static void check_no_socket(const struct descriptor_fact *fact)
{
	struct guest_socket socket;
	struct guest_task task;
	uint64_t address;
	if (fact->pid == 1 || strncmp(fact->path, "socket:", 7) == 0)
		return;
	assert_read(guest_find_process(&frozen.kernel, fact->pid, &address));
	assert_read(guest_task_read(&frozen.kernel, address, &task));
	struct guest_file file = frozen_file(&task, (int)fact->fd);
	assert_int_equal(guest_socket_of_file(&frozen.kernel, &file, &socket), GUEST_NOT_FOUND);
}

static void other_files_are_no_sockets(void **state)
{
	assert_true(frozen_for_each_descriptor(check_no_socket) > 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(unix_peers_are_found),
		cmocka_unit_test(unix_names_lead_to_inodes),
		cmocka_unit_test(sockets_are_as_proc_says),
		cmocka_unit_test(all_connections_are_visited),
		cmocka_unit_test(ends_of_a_connection_mirror_each_other),
		cmocka_unit_test(other_files_are_no_sockets),
	};
	return frozen_run(tests);
}
