// SPDX-License-Identifier: GPL-2.0-or-later
// Where nodes stand, computed beside the page. Few: in layers, from the origin to the right, or down, whichever
// can be drawn larger (dagre). Many: forces (d3-force), which
// draw each to its layer, and the page sees them come to rest.
import dagre from '@dagrejs/dagre';
import { forceCollide, forceLink, forceManyBody, forceSimulation, forceX, forceY } from 'd3-force';

const LAYERED_NODES = 260, LAYERED_LINKS = 700, READABLE = 0.55, CARD_ROOM = 1.2, FLAT = 0.5;
const LAYER = 190, TELL_MILLISECONDS = 120, MANY = 3000, TICKS = 140, TICKS_OF_MANY = 60;

let newest = 0;

function tell(job, xs, ys, done) {
	postMessage({ number: job.number, xs, ys, done, cards: job.cards, vertical: job.vertical, layered: job.layered }, [xs.buffer, ys.buffer]);
}

// How large it can be drawn.
const scaleOf = (graph, job) => Math.min(job.roomWidth / graph.graph().width, job.roomHeight / graph.graph().height);

function layered(job) {
	const across = arrange(job, { rankdir: 'LR', ranksep: 52, nodesep: 12 }), down = arrange(job, { rankdir: 'TB', ranksep: 34, nodesep: 14 });
	// It does not turn around for little.
	if (Math.max(scaleOf(down, job), scaleOf(across, job)) < READABLE)
		return forced({ ...job, cards: true });
	const vertical = scaleOf(down, job) > scaleOf(across, job) * (job.vertical ? 0.8 : 1.25), graph = vertical ? down : across;
	const xs = new Float32Array(job.nodes), ys = new Float32Array(job.nodes);
	for (let i = 0; i < job.nodes; i++)
		({ x: xs[i], y: ys[i] } = graph.node(String(i)));
	return tell({ ...job, cards: true, layered: true, vertical }, xs, ys, true);
}

function arrange(job, shape) {
	const graph = new dagre.graphlib.Graph();
	graph.setGraph({ ...shape, ranker: job.nodes > 120 ? 'longest-path' : 'network-simplex' });
	graph.setDefaultEdgeLabel(() => ({}));
	for (let i = 0; i < job.nodes; i++)
		graph.setNode(String(i), { width: job.width, height: job.height });
	for (let i = 0; i < job.links.length; i += 2)
		graph.setEdge(String(job.links[i]), String(job.links[i + 1]));
	dagre.layout(graph);
	return graph;
}

async function forced(job) {
	const many = job.nodes > MANY, deepest = Math.max(1, ...job.depths);
	// Cards fill the room that there is; dots have layers as wide as they need. Cards are flat: what is a circle here is one of them, with
	// room around it, there.
	const flat = job.cards ? FLAT : 1;
	const width = Math.sqrt(job.nodes * job.width * job.height * CARD_ROOM * (job.roomWidth / job.roomHeight));
	const layer = job.cards ? width / deepest : LAYER;
	const places = [];
	const nodes = Array.from({ length: job.nodes }, (_, i) => {
		const depth = job.depths[i], place = (places[depth] = (places[depth] ?? 0) + 1);
		const known = !Number.isNaN(job.xs[i]);
		return { depth, x: known ? job.xs[i] : depth * layer + (place % 7) * 12, y: known ? job.ys[i] / flat : (place % 2 ? 1 : -1) * place * 7 };
	});
	const links = [];
	for (let i = 0; i < job.links.length; i += 2)
		links.push({ source: job.links[i], target: job.links[i + 1] });
	const simulation = forceSimulation(nodes)
		.force('link', forceLink(links).distance(job.cards ? 130 : 46).strength(job.cards ? 0.06 : 0.25))
		.force('charge', forceManyBody().strength(job.cards ? -900 : -42).theta(many ? 2 : 1.2).distanceMax(many ? 300 : 800))
		.force('x', forceX((node) => node.depth * layer).strength(job.cards ? 0.1 : 0.35))
		.force('y', forceY(0).strength(job.cards ? 0.05 : 0.035))
		.alphaDecay(1 - 0.001 ** (1 / (many ? TICKS_OF_MANY : TICKS)))
		.stop();
	if (!many)
		simulation.force('collide', forceCollide(job.cards ? job.width * 0.53 : 13));
	if (job.known > 0.8 * job.nodes)
		simulation.alpha(0.3);
	let told = performance.now();
	while (job.number === newest) {
		simulation.tick();
		const done = simulation.alpha() < simulation.alphaMin();
		if (!done && performance.now() - told < TELL_MILLISECONDS)
			continue;
		tell({ ...job, layered: false, vertical: false }, Float32Array.from(nodes, (node) => node.x), Float32Array.from(nodes, (node) => node.y * flat), done);
		if (done)
			return;
		await new Promise((resolve) => { setTimeout(resolve); }); // a newer job may have come
		told = performance.now();
	}
}

onmessage = ({ data: job }) => {
	newest = job.number;
	if (job.nodes <= LAYERED_NODES && job.links.length / 2 <= LAYERED_LINKS)
		layered(job);
	else
		forced({ ...job, cards: false });
};
