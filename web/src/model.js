// SPDX-License-Identifier: GPL-2.0-or-later
// What is known of one VM: objects, and the edges by which labels came to them, in their order.

const LOOPBACK = /^(127\.|\[?::1\]?:|localhost|@|\/)/;

const baseName = (path) => path.replace(/\/+$/, '').split('/').pop() || path;
const directory = (path) => path.slice(0, Math.max(path.lastIndexOf('/'), 1));

// By type of object: how it is called, what else one wants to see at once, and what it is grouped by.
const KINDS = {
	file: (o) => ({ title: baseName(o.path || '?'), detail: directory(o.path || '?'), group: directory(o.path || '?'), whole: o.path }),
	process: (o) => ({ title: `${o.comm || '?'} [${o.pid}]`, detail: o.exe ?? '', group: o.exe ?? o.comm, whole: o.exe ?? o.comm }),
	socket: (o) => describeSocket(o),
	endpoint: (o) => describeSocket(o),
	unknown: () => ({ title: '?', detail: '', group: '?', whole: '?' }),
};

function describeSocket(o) {
	const address = o.peer ?? o.address ?? o.local ?? '?';
	const host = address.replace(/:\d+$/, '');
	return { title: address, detail: [o.family, o.socket_type ?? o.type].filter((part) => part && part !== 'endpoint' && part !== 'socket').join(' '), group: host, whole: address };
}

export class Model {
	constructor() {
		this.nodes = new Map();
		this.edges = [];
		this.sequences = new Map(); // the agent's number -> its newest edge
		this.labels = new Set();
		this.unnamed = 0;
		this.version = 0;
	}

	// The node of an end of an edge, as it is described there.
	node(type, object) {
		const id = object.id ?? `unknown-${++this.unnamed}`;
		let node = this.nodes.get(id);
		if (!node) {
			node = { id, incoming: [], outgoing: [], clearings: [], labels: new Set(), first: Infinity, depth: 0, origin: false, ended: null, alerts: 0, removed: false };
			this.nodes.set(id, node);
		}
		node.kind = KINDS[type] ? type : 'unknown';
		node.object = object;
		Object.assign(node, KINDS[node.kind](object));
		node.search = [node.title, node.detail, node.whole, object.path, object.host_path, object.pid, object.inode, object.local].join('\n').toLowerCase();
		node.outside = isOutside(node);
		return node;
	}

	addEdge(edge) {
		const cleared = edge.syscall === 'cleared' && !edge.from;
		const to = this.node(edge.to.type, edge.to), from = edge.from ? this.node(edge.from.type, edge.from) : null;
		const index = this.edges.length;
		const step = { index, from, to, syscall: edge.syscall, labels: edge.labels, time: edge.time, at: Date.parse(edge.time) || 0, sequence: edge.seq, bytes: edge.bytes ?? null, cleared };
		this.edges.push(step);
		this.sequences.set(edge.seq, step);
		this.version++;
		if (cleared) {
			for (const node of to.kind === 'unknown' ? this.nodes.values() : [to]) { // unknown: from all
				for (const label of edge.labels)
					node.labels.delete(label);
				node.removed = node.labels.size === 0;
				node.clearings.push(step);
			}
			return step;
		}
		for (const label of edge.labels) {
			to.labels.add(label);
			this.labels.add(label);
		}
		if (to.first === Infinity) {
			to.first = index;
			to.depth = from ? from.depth + 1 : 0;
		}
		to.removed = false;
		to.ended = null;
		if (from) {
			if (from.first === Infinity)
				from.first = index;
			from.outgoing.push(step);
		} else {
			to.origin = true;
		}
		to.incoming.push(step);
		return step;
	}

	// More has gone by an edge that is known.
	setBytes(sequence, bytes) {
		const step = this.sequences.get(sequence);
		if (step)
			step.bytes = bytes;
	}

	// What the daemon's lists of the living say: holders of which no edge may be left, too.
	setLiving(objects) {
		const living = new Set();
		for (const [type, object] of objects) {
			living.add(object.id);
			const known = this.nodes.get(object.id);
			const node = known ?? this.node(type, object);
			if (!known)
				node.first = 0;
			node.ended = null;
			node.labels = new Set(object.labels);
			node.removed = false;
			for (const label of object.labels)
				this.labels.add(label);
		}
		for (const node of this.nodes.values())
			if (!living.has(node.id) && node.kind !== 'endpoint' && node.kind !== 'unknown')
				node.ended = node.ended ?? '';
		this.version++;
	}

	end(id, time) {
		const node = this.nodes.get(id);
		if (node)
			node.ended = time;
		this.version++;
	}

	// Whether it may hold the label (any: null) now.
	static holds(node, label) {
		return node.ended === null && !node.removed && node.kind !== 'endpoint' && node.labels.size > 0 && (!label || node.labels.has(label));
	}

	// The edges from where it was classified to this node. `whole`: nothing before them is missing.
	pathTo(node, label) {
		const wanted = label && node.labels.has(label) ? label : node.incoming[0]?.labels[0];
		const path = [];
		for (let at = node, before = Infinity; at;) {
			const step = arrivalBefore(at, before, wanted);
			if (!step)
				return { steps: path, whole: false, label: wanted };
			path.unshift(step);
			before = step.index;
			at = step.from;
		}
		return { steps: path, whole: path.length > 0, label: wanted };
	}
}

// By which edge it had got the label that it held then: the first since that was taken from it, or, if there is none, ever.
function arrivalBefore(node, before, label) {
	const brings = (edge) => edge.index < before && edge.labels.includes(label);
	const cleared = node.clearings.findLast((edge) => brings(edge))?.index ?? -1;
	return node.incoming.find((edge) => edge.index > cleared && brings(edge)) ?? node.incoming.find(brings);
}

// Whether what comes there is out of the VM's reach: another machine, most likely.
function isOutside(node) {
	if (node.kind === 'endpoint')
		return node.object.blocked !== true;
	const o = node.object;
	if (node.kind !== 'socket' || !['inet', 'inet6', 'packet', 'vsock'].includes(o.family))
		return false;
	return Boolean(o.peer) && !LOOPBACK.test(o.peer);
}

// What is shown: nodes and edges after filters, near ones put together until there are few enough.
export function makeView(model, filter) {
	const from = filter.from ?? -Infinity, to = filter.to ?? Infinity;
	const chosen = new Set(), edges = [];
	for (const edge of model.edges) {
		if (edge.cleared || edge.at < from || edge.at > to || (filter.label && !edge.labels.includes(filter.label)))
			continue;
		edges.push(edge);
		chosen.add(edge.to);
		if (edge.from)
			chosen.add(edge.from);
	}
	if (filter.from === undefined && filter.to === undefined)
		for (const node of model.nodes.values())
			if (Model.holds(node, filter.label))
				chosen.add(node);
	if (!filter.ended)
		for (const node of chosen)
			if (node.ended !== null && !node.origin && !node.outgoing.some((edge) => Model.holds(edge.to)))
				chosen.delete(node);
	return group(chosen, edges.filter((edge) => chosen.has(edge.to) && (!edge.from || chosen.has(edge.from))), filter);
}

// From near to coarse: a folder, program or host; what lies above it; all of a kind that are as far from the origin.
const GROUPS = [
	(node) => node.group,
	(node) => (node.group.startsWith('/') ? node.group.split('/').slice(0, 3).join('/') : node.group.replace(/^(\d+\.\d+\.\d+)\.\d+$/, '$1.*')),
	(node) => (node.group.startsWith('/') ? node.group.split('/').slice(0, 2).join('/') : ''),
	() => '',
];
const standing = (node) => (node.origin ? 'origin' : node.outside ? 'outside' : node.ended !== null || node.removed ? 'ended' : 'holds');
const keyOf = (node, level) => `${node.kind}\n${standing(node)}\n${level === GROUPS.length - 1 ? node.depth : ''}\n${GROUPS[level](node)}`;

const FEW = 120, GROUPS_MOST = 40;

function group(nodes, edges, { grouping, expanded }) {
	let level = -1;
	if (grouping === 'grouped' || (grouping === 'auto' && nodes.size > FEW)) {
		for (level = 0; level < GROUPS.length - 1; level++)
			if (new Set([...nodes].map((node) => keyOf(node, level))).size <= GROUPS_MOST)
				break;
	}
	const views = new Map(), of = new Map();
	for (const node of nodes) {
		let key = level >= 0 ? `g\n${keyOf(node, level)}` : node.id;
		if (expanded.has(key))
			key = node.id;
		let view = views.get(key);
		if (!view) {
			view = { key, members: [], kind: node.kind, first: Infinity, depth: Infinity, x: 0, y: 0, incoming: [], outgoing: [] };
			views.set(key, view);
		}
		view.members.push(node);
		view.first = Math.min(view.first, node.first);
		view.depth = Math.min(view.depth, node.depth);
		of.set(node, view);
	}
	for (const view of views.values())
		describe(view, level);
	const links = new Map();
	for (const edge of edges) {
		const from = edge.from && of.get(edge.from), to = of.get(edge.to);
		if (!from || from === to)
			continue;
		const key = `${from.key}\0${to.key}`;
		let link = links.get(key);
		if (!link) {
			link = { from, to, first: edge.index, steps: [], syscalls: new Set() };
			links.set(key, link);
			from.outgoing.push(link);
			to.incoming.push(link);
		}
		link.steps.push(edge);
		link.syscalls.add(edge.syscall);
	}
	return { nodes: [...views.values()], links: [...links.values()], of, level };
}

function describe(view, level) {
	const node = view.members[0];
	view.standing = standing(node);
	view.alerts = view.members.reduce((sum, member) => sum + member.alerts, 0);
	view.many = view.members.length > 1;
	if (!view.many) {
		view.title = node.title;
		view.detail = node.detail;
		return;
	}
	view.title = GROUPS[level](node);
	view.detail = '';
}
