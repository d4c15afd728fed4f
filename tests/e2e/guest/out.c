/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenario.h"

/* Played by the cases of the policy (tests/e2e/cases.sh), which look at alerts, not at what is announced. */

enum { PORT = 4803 };

// One socket, one port: to this machine, and to another.
static void send_out(void)
{
	static const char *const addresses[] = { "127.0.0.1", "192.0.2.1" };
	char content[64];
	int file = open_or_fault("/plain/copy", O_RDONLY), fd = socket(AF_INET, SOCK_DGRAM, 0);
	ssize_t length = read(file, content, sizeof(content));
	need(fd >= 0 && length > 0, "read");
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
		inet_pton(AF_INET, addresses[i], &to.sin_addr);
		need(sendto(fd, content, (size_t)length, 0, (struct sockaddr *)&to, sizeof(to)) ==
			     length,
		     "sendto");
	}
}

const struct scenario out_scenarios[] = {
	{ "out-datagram", send_out },
	{ 0 },
};
