/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scenario.h"

/* One rule of nftables, as `nft add rule ip nijimi out th dport FROM dnat to 127.0.0.1:TO` would make it, without nft. */

static struct {
	char bytes[4096];
	size_t used;
	uint32_t sequence;
} batch;

static void *append(size_t size)
{
	void *place = batch.bytes + batch.used;
	batch.used += NLMSG_ALIGN(size);
	need(batch.used <= sizeof(batch.bytes), "too much for a message");
	return place;
}

static struct nlmsghdr *begin_message(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	struct nlmsghdr *message = append(sizeof(*message) + sizeof(struct nfgenmsg));
	struct nfgenmsg *header = NLMSG_DATA(message);
	*message = (struct nlmsghdr){ .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags,
				      .nlmsg_seq = ++batch.sequence };
	*header = (struct nfgenmsg){ .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource) };
	return message;
}

static void end_message(struct nlmsghdr *message)
{
	message->nlmsg_len = (uint32_t)(batch.bytes + batch.used - (char *)message);
}

static struct nlmsghdr *begin_nft(uint16_t type)
{
	return begin_message((uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_CREATE | NLM_F_ACK, NFPROTO_IPV4, 0);
}

static void put(uint16_t type, const void *value, size_t size)
{
	struct nlattr *attribute = append(sizeof(*attribute) + size);
	*attribute = (struct nlattr){ .nla_type = type, .nla_len = (uint16_t)(sizeof(*attribute) + size) };
	memcpy(attribute + 1, value, size);
}

static void put_text(uint16_t type, const char *text)
{
	put(type, text, strlen(text) + 1);
}

static void put_number(uint16_t type, uint32_t number)
{
	number = htonl(number);
	put(type, &number, sizeof(number));
}

static struct nlattr *begin_nest(uint16_t type)
{
	struct nlattr *nest = append(sizeof(*nest));
	nest->nla_type = (uint16_t)(type | NLA_F_NESTED);
	return nest;
}

static void end_nest(struct nlattr *nest)
{
	nest->nla_len = (uint16_t)(batch.bytes + batch.used - (char *)nest);
}

struct expression {
	struct nlattr *element, *data;
};

static struct expression begin_expression(const char *name)
{
	struct expression expression = { .element = begin_nest(NFTA_LIST_ELEM) };
	put_text(NFTA_EXPR_NAME, name);
	expression.data = begin_nest(NFTA_EXPR_DATA);
	return expression;
}

static void end_expression(struct expression expression)
{
	end_nest(expression.data);
	end_nest(expression.element);
}

static void put_value(uint16_t type, const void *value, size_t size)
{
	struct nlattr *data = begin_nest(type);
	put(NFTA_DATA_VALUE, value, size);
	end_nest(data);
}

static void put_into_register(uint32_t number, const void *value, size_t size)
{
	struct expression immediate = begin_expression("immediate");
	put_number(NFTA_IMMEDIATE_DREG, number);
	put_value(NFTA_IMMEDIATE_DATA, value, size);
	end_expression(immediate);
}

static void put_rule(uint16_t from, uint16_t to)
{
	enum { PORT_OFFSET = 2, PORT_SIZE = 2 }; // the destination, of TCP and UDP
	const in_addr_t address = htonl(INADDR_LOOPBACK);
	from = htons(from);
	to = htons(to);
	struct expression payload = begin_expression("payload");
	put_number(NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	put_number(NFTA_PAYLOAD_OFFSET, PORT_OFFSET);
	put_number(NFTA_PAYLOAD_LEN, PORT_SIZE);
	end_expression(payload);
	struct expression compare = begin_expression("cmp");
	put_number(NFTA_CMP_SREG, NFT_REG_1);
	put_number(NFTA_CMP_OP, NFT_CMP_EQ);
	put_value(NFTA_CMP_DATA, &from, sizeof(from));
	end_expression(compare);
	put_into_register(NFT_REG_1, &address, sizeof(address));
	put_into_register(NFT_REG_2, &to, sizeof(to));
	struct expression nat = begin_expression("nat");
	put_number(NFTA_NAT_TYPE, NFT_NAT_DNAT);
	put_number(NFTA_NAT_FAMILY, NFPROTO_IPV4);
	put_number(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1);
	put_number(NFTA_NAT_REG_PROTO_MIN, NFT_REG_2);
	end_expression(nat);
}

// Each of the three messages is answered.
static void await_answers(int fd)
{
	char answers[8192];
	for (int left = 3; left > 0;) {
		ssize_t size = recv(fd, answers, sizeof(answers), 0);
		need(size > 0, "answer of nftables");
		for (struct nlmsghdr *answer = (void *)answers; NLMSG_OK(answer, size); answer = NLMSG_NEXT(answer, size)) {
			errno = -((struct nlmsgerr *)NLMSG_DATA(answer))->error;
			need(answer->nlmsg_type == NLMSG_ERROR && errno == 0, "nftables");
			left--;
		}
	}
}

void translate_port(uint16_t from, uint16_t to)
{
	static const char table[] = "nijimi", chain[] = "out";
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	need(fd >= 0, "socket(NETLINK_NETFILTER)");
	batch.used = 0;
	end_message(begin_message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
	struct nlmsghdr *message = begin_nft(NFT_MSG_NEWTABLE);
	put_text(NFTA_TABLE_NAME, table);
	end_message(message);
	message = begin_nft(NFT_MSG_NEWCHAIN);
	put_text(NFTA_CHAIN_TABLE, table);
	put_text(NFTA_CHAIN_NAME, chain);
	put_text(NFTA_CHAIN_TYPE, "nat");
	struct nlattr *hook = begin_nest(NFTA_CHAIN_HOOK);
	put_number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
	put_number(NFTA_HOOK_PRIORITY, (uint32_t)-100); // NF_IP_PRI_NAT_DST
	end_nest(hook);
	end_message(message);
	message = begin_nft(NFT_MSG_NEWRULE);
	message->nlmsg_flags |= NLM_F_APPEND;
	put_text(NFTA_RULE_TABLE, table);
	put_text(NFTA_RULE_CHAIN, chain);
	struct nlattr *expressions = begin_nest(NFTA_RULE_EXPRESSIONS);
	put_rule(from, to);
	end_nest(expressions);
	end_message(message);
	end_message(begin_message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
	need(sendto(fd, batch.bytes, batch.used, 0, (struct sockaddr *)&kernel, sizeof(kernel)) == (ssize_t)batch.used,
	     "nftables");
	await_answers(fd);
	close(fd);
}
