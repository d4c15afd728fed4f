// SPDX-License-Identifier: GPL-2.0-or-later
// The page: what is chosen, what is shown, and what happens when.
import { ask, askAll, forgetToken, listen, Refused, setToken, takeToken } from './connection.js';
import { Canvas, CARD } from './canvas.js';
import { $, h, name } from './dom.js';
import { makeView, Model } from './model.js';
import { alertsPanel, alertText, captionOf, glancePanel, groupPanel, listPanel, matrixPanel, nodePanel, standingOf } from './panels.js';
import { formatNumber, formatTime, languageName, switchLanguage, t, translate } from './text.js';

const EDGES_MOST = 50000, ALERTS_OPEN = 5, RETRY_MILLISECONDS = 1000, FOUND_MOST = 20, REPLAY_MILLISECONDS = 12000, REPLAY_STEP = 60, LAYOUT_MILLISECONDS = 250, MATRIX_MILLISECONDS = 3000;
const TABS = ['graph', 'alerts', 'matrix', 'list'];
const KINDS = ['file', 'process', 'socket'];

const state = {
	vms: [], vm: null, alerts: [], counts: new Map(), counted: new Map(),
	model: new Model(), view: { nodes: [], links: [], of: new Map() }, cut: false,
	tab: 'graph', label: '', period: '', grouping: 'auto', ended: true, expanded: new Set(),
	step: null, // null: live, else how many edges are shown
	selected: null, query: '', connection: 'wait', loading: 0,
};
let canvas, worker, reading = new AbortController(), player = 0;

const reducedMotion = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

// Put off, so that what comes often is shown once.
function later(milliseconds, work) {
	let timer = 0;
	return () => {
		timer ||= setTimeout(() => { timer = 0; work(); }, milliseconds);
	};
}

function say(text) {
	$('said').textContent = text;
}

// The graph -------------------------------------------------------------------------------------

function period() {
	if (state.period === 'between')
		return { from: $('from').value ? Date.parse($('from').value) : undefined, to: $('to').value ? Date.parse($('to').value) + 999 : undefined };
	return state.period ? { from: Date.now() - 1000 * Number(state.period) } : {};
}

let job = 0, pendingJob = false;

function arrange() {
	const { nodes, links } = state.view, number = ++job;
	const index = new Map(nodes.map((node, i) => [node, i]));
	const pairs = new Int32Array(2 * links.length), depths = new Int32Array(nodes.length), xs = new Float32Array(nodes.length), ys = new Float32Array(nodes.length);
	links.forEach((link, i) => { pairs[2 * i] = index.get(link.from); pairs[2 * i + 1] = index.get(link.to); });
	let known = 0;
	nodes.forEach((node, i) => {
		depths[i] = Math.min(node.depth, 10000);
		const near = node.placed ? node : node.incoming.find((link) => link.from.placed)?.from;
		known += node.placed ? 1 : 0;
		xs[i] = near ? near.x + (node.placed ? 0 : 60) : NaN;
		ys[i] = near ? near.y + (node.placed ? 0 : (i % 9) - 4) : NaN;
	});
	pendingJob = nodes.length > 0;
	notice();
	worker.postMessage({ number, nodes: nodes.length, links: pairs, depths, xs, ys, known, width: CARD.width + 8, height: CARD.height + 8, roomWidth: canvas.width, roomHeight: canvas.height, vertical: canvas.vertical });
}

function placed({ data }) {
	if (data.number !== job)
		return;
	canvas.place(data.xs, data.ys, data);
	if (data.done)
		pendingJob = false;
	document.body.dataset.arranged = data.done ? String(state.view.nodes.length) : '';
	notice();
}

function notice() {
	const text = state.loading ? t('graph.loading', { n: formatNumber(state.loading) })
		: pendingJob && state.view.nodes.length > 300 ? t('graph.layout', { n: formatNumber(state.view.nodes.length) })
			: state.cut ? t('graph.cut', { n: formatNumber(state.model.edges.length) }) : '';
	$('notice').textContent = text;
	$('notice').hidden = !text;
	const empty = !state.vm ? 'graph.choose' : state.loading || state.view.nodes.length ? '' : state.model.nodes.size ? 'graph.filtered' : 'graph.empty';
	$('empty').textContent = empty && t(empty);
	$('empty').hidden = !empty;
}

// Makes the view anew; what was drawn stays where it was.
function rebuild() {
	const old = new Map(state.view.nodes.map((node) => [node.key, node]));
	state.view = makeView(state.model, { label: state.label, ...period(), grouping: state.grouping, ended: state.ended, expanded: state.expanded });
	let changed = state.view.nodes.length !== old.size;
	for (const node of state.view.nodes) {
		captionOf(node);
		const before = old.get(node.key);
		if (before?.placed)
			Object.assign(node, { x: before.x, y: before.y, fromX: before.x, fromY: before.y, toX: before.toX, toY: before.toY, placed: true });
		else
			changed = true;
	}
	changed ||= state.view.links.length !== state.links;
	state.links = state.view.links.length;
	canvas.setView(state.view);
	if (state.selected && !state.view.nodes.includes(state.selected.view))
		reselect();
	showMatches();
	showPath();
	if (changed)
		arrange();
	notice();
	if (state.tab === 'list')
		showList();
}

const rebuildSoon = later(LAYOUT_MILLISECONDS, () => { rebuild(); showReplay(); showDetails(); showLabels(); });

function reset() {
	state.expanded = new Set();
	canvas.touched = false;
	rebuild();
	showReplay();
	showDetails();
}

// Selection -------------------------------------------------------------------------------------

function select(node, { focus = false } = {}) {
	let view = state.view.of.get(node);
	if (!view && state.model.nodes.has(node.id)) { // it is filtered away
		Object.assign(state, { label: '', period: '', ended: true });
		showFilters();
		rebuild();
		view = state.view.of.get(node);
	}
	state.selected = { node, view };
	if (state.tab !== 'list') // whoever reads the list goes on there
		openTab('graph');
	showPath();
	showDetails();
	if (view)
		canvas.show(view);
	say(t('said.node', { title: node.title, kind: t(`kind.${node.kind}`), standing: t(`standing.${standingOf(node)}`), in: node.incoming.length, out: node.outgoing.length }));
	if (focus)
		$('details').focus();
}

function selectView(view) {
	if (!view)
		return clearSelection();
	if (!view.many)
		return select(view.members[0]);
	state.selected = { node: null, view };
	showPath();
	showDetails();
	canvas.show(view);
	say(`${view.label}, ${view.sub}`);
}

function clearSelection() {
	state.selected = null;
	state.shownAlert = null;
	showPath();
	showDetails();
}

function reselect() {
	const { node, view } = state.selected;
	const again = node && state.model.nodes.get(node.id);
	if (again)
		state.selected = { node: again, view: state.view.of.get(again) };
	else if (view)
		state.selected = { node: null, view: state.view.of.get(view.members[0]) };
	if (!state.selected.view && !state.selected.node)
		state.selected = null;
}

// The way to what is selected, drawn over all else.
function showPath() {
	const path = new Set(), { node, view } = state.selected ?? {};
	if (node) {
		for (const step of state.model.pathTo(node, state.label).steps) {
			const to = state.view.of.get(step.to), from = step.from && state.view.of.get(step.from);
			path.add(to).add(from);
			const link = from?.outgoing.find((each) => each.to === to);
			if (link)
				path.add(link);
		}
	}
	path.delete(undefined);
	path.delete(null);
	canvas.selected = view ?? null;
	canvas.path = path;
	canvas.draw();
}

const ACTIONS = {
	select: (node) => select(node),
	clear: () => { clearSelection(); $('graph').focus(); },
	expand: (view) => {
		state.expanded.add(view.key);
		clearSelection();
		rebuild();
		$('graph').focus();
	},
	showLabel: async (vm, label) => {
		if (state.vm !== vm)
			await choose(vm);
		state.label = label;
		showFilters();
		reset();
		openTab('graph');
	},
	showAlert: async (alert) => {
		if (state.vm !== alert.vm)
			await choose(alert.vm);
		const end = alert.path.at(-1)?.to;
		const node = end && state.model.nodes.get(end.id);
		openTab('graph');
		if (node)
			select(node, { focus: true });
	},
};

function showDetails() {
	const vm = state.vms.find((each) => each.name === state.vm), aside = $('details');
	const { node, view } = state.selected ?? {};
	const content = node ? nodePanel(node, state.model, state.label, ACTIONS) : view ? groupPanel(view, ACTIONS) : vm ? glancePanel(vm, state.model, state.label, ACTIONS) : [];
	// Who is in the middle of it with the keyboard stays there.
	const at = aside.contains(document.activeElement) && document.activeElement !== aside ? [...aside.querySelectorAll('button')].indexOf(document.activeElement) : -1;
	const top = aside.scrollTop;
	aside.replaceChildren(...content.flat().filter(Boolean));
	aside.scrollTop = aside.dataset.of === (node?.id ?? view?.key ?? 'vm').toString() ? top : 0;
	aside.dataset.of = node?.id ?? view?.key ?? 'vm';
	if (at >= 0)
		(aside.querySelectorAll('button')[at] ?? aside).focus();
}

// Searching -------------------------------------------------------------------------------------

function findNodes() {
	const query = state.query.trim().toLowerCase();
	return query ? [...state.model.nodes.values()].filter((node) => node.search.includes(query)) : [];
}

function showMatches() {
	canvas.matches = state.query.trim() ? new Set(findNodes().map((node) => state.view.of.get(node))) : null;
	canvas.draw();
}

function showFound() {
	const nodes = findNodes(), list = $('found');
	list.replaceChildren(...nodes.slice(0, FOUND_MOST).map((node, i) => h('li', { role: 'option', id: `found-${i}`, 'aria-selected': String(i === 0), onpointerdown: (event) => { event.preventDefault(); takeFound(node); } },
		h('i', { class: node.alerts ? 'alert' : standingOf(node) }), name(node.title.slice(0, 200)), h('small', { class: 'cut muted' }, [t(`kind.${node.kind}`), node.detail].filter(Boolean).join(' · ')))));
	list.nodes = nodes.slice(0, FOUND_MOST);
	if (state.query.trim() && nodes.length !== list.nodes.length)
		list.append(h('li', { class: 'none' }, t('search.more', { n: formatNumber(nodes.length - FOUND_MOST) })));
	if (state.query.trim() && !nodes.length)
		list.append(h('li', { class: 'none' }, t('search.none')));
	list.hidden = !state.query.trim();
	$('search').setAttribute('aria-expanded', String(!list.hidden));
	$('search').setAttribute('aria-activedescendant', nodes.length ? 'found-0' : '');
	showMatches();
}

function takeFound(node) {
	$('search').value = state.query = '';
	showFound();
	select(node);
	$('graph').focus();
}

function searchKey(event) {
	const list = $('found'), options = [...list.querySelectorAll('[role=option]')], at = options.findIndex((option) => option.getAttribute('aria-selected') === 'true');
	const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
	if (move && options.length) {
		const next = (at + move + options.length) % options.length;
		options[at]?.setAttribute('aria-selected', 'false');
		options[next].setAttribute('aria-selected', 'true');
		options[next].scrollIntoView({ block: 'nearest' });
		$('search').setAttribute('aria-activedescendant', options[next].id);
		event.preventDefault();
	} else if (event.key === 'Enter' && list.nodes?.[at]) {
		takeFound(list.nodes[at]);
	} else if (event.key === 'Escape') {
		$('search').value = state.query = '';
		showFound();
	}
}

// Time ------------------------------------------------------------------------------------------

function showReplay() {
	const count = state.model.edges.length, slider = $('time'), at = state.step ?? count, edge = state.model.edges[at - 1];
	slider.max = count;
	slider.value = at;
	canvas.step = state.step === null ? Infinity : at - 1;
	canvas.draw();
	$('moment').textContent = count ? `${t('replay.step', { at: formatNumber(at), n: formatNumber(count) })}${edge ? ` · ${formatTime(edge.time)}` : ''}` : '';
	slider.setAttribute('aria-valuetext', $('moment').textContent);
	$('live').setAttribute('aria-pressed', String(state.step === null));
	$('play').textContent = t(player ? 'replay.stop' : 'replay.play');
	$('play').disabled = count === 0;
	drawHistogram();
}

// How many steps there were when, along the steps' own axis: a bar is high where they came quickly.
function drawHistogram() {
	const element = $('histogram'), edges = state.model.edges, bars = 120, c = element.getContext('2d');
	element.width = element.clientWidth;
	element.height = element.clientHeight;
	if (edges.length < 2)
		return;
	const length = Math.min(bars, edges.length), spans = Array.from({ length }, (_, i) => {
		const first = Math.floor((i * edges.length) / length), last = Math.min(Math.floor(((i + 1) * edges.length) / length), edges.length - 1);
		return (last - first || 1) / Math.max(edges[last].at - edges[first].at, 1);
	});
	const logs = spans.map((rate) => Math.log1p(rate * 1000)), most = Math.max(...logs), shown = (state.step ?? edges.length) / edges.length;
	logs.forEach((log, i) => {
		c.fillStyle = (i + 0.5) / logs.length <= shown ? canvas.color.holds : canvas.color.edge;
		c.globalAlpha = 0.55;
		const height = Math.max(2, (log / most) * element.height);
		c.fillRect((i * element.width) / logs.length, element.height - height, element.width / logs.length - 1, height);
	});
}

function goLive() {
	stop();
	state.step = null;
	showReplay();
}

function stop() {
	clearTimeout(player);
	player = 0;
}

function play() {
	if (player) {
		stop();
		showReplay();
		return;
	}
	const count = state.model.edges.length, stride = Math.max(1, Math.ceil((count * REPLAY_STEP) / REPLAY_MILLISECONDS));
	const pace = Math.max(REPLAY_STEP, Math.min(600, REPLAY_MILLISECONDS / Math.max(count, 1)));
	if (state.step === null || state.step >= count)
		state.step = 0;
	const next = () => {
		state.step = Math.min(state.step + stride, state.model.edges.length);
		player = state.step < state.model.edges.length ? setTimeout(next, pace) : 0;
		showReplay();
	};
	player = setTimeout(next, pace);
	showReplay();
}

// Machines --------------------------------------------------------------------------------------

function vmRow(vm) {
	const alerts = state.alerts.filter((alert) => alert.vm === vm.name && !alert.blocked).length;
	const numbers = { files: formatNumber(vm.managed_files), processes: formatNumber(vm.managed_processes), sockets: formatNumber(vm.managed_sockets) };
	return h('li', {}, h('button', { type: 'button', 'data-vm': vm.name, 'aria-current': String(vm.name === state.vm), title: vm.name, onclick: () => choose(vm.name) },
		h('span', { class: 'top' }, h('span', { class: 'cut' }, vm.name), alerts > 0 && h('span', { class: 'badge', 'aria-label': t('vms.alerts', { n: alerts }) }, formatNumber(alerts)), h('span', { class: `state ${vm.state}` }, t(`state.${vm.state}`))),
		h('small', { class: 'cut' }, vm.kernel ?? vm.reason ?? ''),
		h('small', { class: 'numbers', title: t('vms.numbers', numbers), 'aria-label': t('vms.numbers', numbers) }, h('span', {}, `▤ ${numbers.files}`), h('span', {}, `⬡ ${numbers.processes}`), h('span', {}, `◇ ${numbers.sockets}`))));
}

function showVms() {
	const list = $('vms'), at = document.activeElement?.dataset?.vm;
	const order = (vm) => (vm.state === 'gone' ? 1 : 0);
	const rows = [...state.vms].sort((a, b) => order(a) - order(b)).map(vmRow);
	list.replaceChildren(...(rows.length ? rows : [h('li', { class: 'muted' }, t('vms.none'))]));
	if (at)
		[...list.querySelectorAll('button')].find((button) => button.dataset.vm === at)?.focus();
}

function showLabels() {
	const select = $('label'), labels = [...new Set([...state.model.labels, ...(state.label ? [state.label] : [])])].sort();
	if (select.dataset.shown === `${languageName()} ${labels.join('\n')}`)
		return;
	select.dataset.shown = `${languageName()} ${labels.join('\n')}`;
	select.replaceChildren(h('option', { value: '' }, t('label.all')), ...labels.map((label) => h('option', { value: label }, label)));
	select.value = state.label;
}

function showFilters() {
	showLabels();
	$('label').value = state.label;
	$('period').value = state.period;
	$('grouping').value = state.grouping;
	$('ended').checked = state.ended;
	$('between').hidden = state.period !== 'between';
}

function markAlerts() {
	for (const node of state.model.nodes.values())
		node.alerts = 0;
	for (const alert of state.alerts) {
		const node = alert.vm === state.vm && !alert.blocked && state.model.nodes.get(alert.path.at(-1)?.to?.id);
		if (node)
			node.alerts += 1 + alert.repeated;
	}
}

function showAlerts() {
	const open = new Map([...document.querySelectorAll('.alert-card')].map((card) => [card.dataset.id, card.querySelector('details').open]));
	$('alerts').replaceChildren(...alertsPanel(state.alerts, ACTIONS));
	for (const [i, card] of document.querySelectorAll('.alert-card').entries())
		card.querySelector('details').open = open.get(card.dataset.id) ?? i < ALERTS_OPEN;
	$('alert-count').textContent = formatNumber(state.alerts.length);
	$('alert-count').hidden = !state.alerts.length;
}

function showList() {
	$('list').replaceChildren(...listPanel(state.view.nodes.flatMap((view) => view.members), ACTIONS).filter(Boolean));
}

// Counts of all VMs, for those in which something has happened since.
async function count() {
	for (const vm of state.vms) {
		const mark = `${vm.edge_count} ${vm.managed_files} ${vm.managed_processes} ${vm.managed_sockets}`;
		if (state.tab !== 'matrix' || state.counted.get(vm.name) === mark)
			continue;
		state.counted.set(vm.name, mark);
		const of = new Map();
		await askAll({ command: 'labels', vm: vm.name }, 'labels', (labels) => {
			for (const { label, files, processes, sockets } of labels) {
				const sum = of.get(label) ?? { files: 0, processes: 0, sockets: 0 };
				of.set(label, { files: sum.files + files, processes: sum.processes + processes, sockets: sum.sockets + sockets });
			}
		});
		state.counts.set(vm.name, of);
	}
	$('matrix').replaceChildren(...matrixPanel(state.vms, state.counts, ACTIONS));
}

const countSoon = later(MATRIX_MILLISECONDS, () => count().catch(failed));

function openTab(tab) {
	state.tab = tab;
	for (const each of TABS) {
		$(`tab-${each}`).setAttribute('aria-selected', String(each === tab));
		$(`tab-${each}`).tabIndex = each === tab ? 0 : -1;
		$(`panel-${each}`).hidden = each !== tab;
	}
	if (tab === 'graph')
		canvas.resize();
	if (tab === 'list')
		showList();
	if (tab === 'matrix')
		count().catch(failed);
}

// What comes from the daemon --------------------------------------------------------------------

function failed(error) {
	if (error instanceof Refused)
		lock(true);
	else if (error.name !== 'AbortError')
		say(t('failed', { message: error.message }));
}

const TOLD = {
	vms: ({ vms }) => {
		state.vms = vms;
		showVms();
		if (!state.vm || !vms.some((vm) => vm.name === state.vm)) {
			const first = vms.find((vm) => vm.state !== 'gone') ?? vms[0];
			if (first)
				choose(first.name);
		} else if (!state.selected) {
			showDetails();
		}
		if (state.tab === 'matrix')
			countSoon();
	},
	edges: ({ edges }) => {
		for (const edge of edges)
			state.model.addEdge(edge);
		markAlerts();
		rebuildSoon();
	},
	ended: ({ ended }) => {
		for (const { id, time } of ended)
			state.model.end(id, time);
		rebuildSoon();
	},
	moved: ({ moved }) => {
		for (const { seq, bytes } of moved)
			state.model.setBytes(seq, bytes);
		if (state.selected)
			showDetails();
	},
	alerts: ({ alerts }) => {
		for (const alert of alerts) {
			const at = state.alerts.findIndex((each) => each.id === alert.id);
			if (at >= 0)
				state.alerts[at] = alert;
			else
				state.alerts.push(alert);
		}
		if (alerts.length && state.ready)
			say(t('alert.new', { text: alertText(alerts.at(-1)) }));
		markAlerts();
		showAlerts();
		showVms();
		rebuildSoon();
	},
	reset: () => choose(state.vm),
};

function showConnection(connection = state.connection) {
	state.connection = connection;
	if (connection === 'refused') {
		lock(true);
		return;
	}
	$('connection').textContent = t(`connection.${connection}`);
	$('connection').className = connection;
}

// Reads all of a VM, then what happens in it from there on.
async function choose(vm) {
	reading.abort();
	const { signal } = (reading = new AbortController());
	stop();
	Object.assign(state, { vm, model: new Model(), selected: null, step: null, loading: 1, cut: false, expanded: new Set() });
	state.view = { nodes: [], links: [], of: new Map() };
	canvas.touched = false;
	canvas.setView(state.view);
	delete document.body.dataset.ready;
	delete document.body.dataset.arranged;
	showVms();
	showDetails();
	notice();
	try {
		const model = state.model, living = [];
		const event = await askAll({ command: 'edges', vm, last: EDGES_MOST }, 'edges', (edges) => {
			for (const edge of edges)
				model.addEdge(edge);
			state.loading = model.edges.length || 1;
			notice();
		}, signal);
		for (const kind of KINDS)
			await askAll({ command: 'objects', vm, kind, as_of: event }, 'objects', (objects) => {
				for (const object of objects)
					living.push([kind, object]);
			}, signal);
		if (signal.aborted)
			return;
		model.setLiving(living);
		state.loading = 0;
		state.cut = model.edges.length >= EDGES_MOST;
		markAlerts();
		showFilters();
		rebuild();
		showReplay();
		showDetails();
		state.ready = true;
		document.body.dataset.ready = vm;
		listen({ vm, event, alert: state.alerts.at(-1)?.id ?? 0 }, (type, data) => TOLD[type]?.(data), showConnection, signal);
	} catch (error) {
		if (signal.aborted)
			return;
		state.loading = 0;
		notice();
		failed(error);
		showConnection('lost');
		if (!(error instanceof Refused))
			setTimeout(() => signal.aborted || choose(vm), RETRY_MILLISECONDS);
	}
}

// Without a VM: only the table and alerts.
function begin(signal = reading.signal) {
	listen({ alert: state.alerts.at(-1)?.id ?? 0 }, (type, data) => TOLD[type]?.(data), showConnection, signal);
}

// The keyboard ----------------------------------------------------------------------------------

// To the next along the links, or the nearest one beside.
function step(key) {
	const from = state.selected?.view ?? null, nodes = state.view.nodes.filter((node) => node.placed && canvas.isShown(node));
	if (!nodes.length)
		return;
	if (!from) {
		selectView(nodes.reduce((best, node) => (node.first < best.first ? node : best)));
		return;
	}
	const nearest = (candidates) => candidates.reduce((best, node) => (!best || Math.hypot(node.x - from.x, node.y - from.y) < Math.hypot(best.x - from.x, best.y - from.y) ? node : best), null);
	const beside = (sign) => (canvas.vertical ? nodes.filter((node) => sign * (node.x - from.x) > 1 && Math.abs(node.y - from.y) < CARD.height)
		: nodes.filter((node) => sign * (node.y - from.y) > 1 && Math.abs(node.x - from.x) < CARD.width));
	const next = {
		forward: () => nearest(from.outgoing.map((link) => link.to).filter(canvas.isShown, canvas)),
		back: () => nearest(from.incoming.map((link) => link.from).filter(canvas.isShown, canvas)),
		before: () => nearest(beside(-1)),
		after: () => nearest(beside(1)),
	}[(canvas.vertical ? { ArrowDown: 'forward', ArrowUp: 'back', ArrowLeft: 'before', ArrowRight: 'after' } : { ArrowRight: 'forward', ArrowLeft: 'back', ArrowUp: 'before', ArrowDown: 'after' })[key]]();
	if (next)
		selectView(next);
}

const GRAPH_KEYS = {
	ArrowRight: step, ArrowLeft: step, ArrowUp: step, ArrowDown: step,
	'+': () => canvas.zoom(1.25), '=': () => canvas.zoom(1.25), '-': () => canvas.zoom(0.8),
	0: () => { canvas.touched = false; canvas.fit(); },
	Enter: () => { if (state.selected) $('details').focus(); },
	' ': () => play(),
};

function graphKey(event) {
	const action = GRAPH_KEYS[event.key];
	if (!action || event.ctrlKey || event.altKey || event.metaKey)
		return;
	event.preventDefault();
	action(event.key);
}

function pageKey(event) {
	const typing = event.target.closest('input:not([type=range], [type=checkbox]), select, textarea, dialog');
	if (event.ctrlKey || event.altKey || event.metaKey || typing)
		return;
	if (event.key === '/') {
		event.preventDefault();
		$('search').focus();
	} else if (event.key === '?') {
		help();
	} else if (event.key === 'Escape') {
		ACTIONS.clear();
	} else if (event.key >= '1' && event.key <= String(TABS.length)) {
		openTab(TABS[event.key - 1]);
		$(`tab-${state.tab}`).focus();
	}
}

function tabKey(event) {
	const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
	if (!move)
		return;
	openTab(TABS[(TABS.indexOf(state.tab) + move + TABS.length) % TABS.length]);
	$(`tab-${state.tab}`).focus();
}

function help() {
	const rows = [['/', 'search'], ['← → ↑ ↓', 'follow'], ['Enter', 'details'], ['Esc', 'clear'], ['+ − 0', 'zoom'], ['Space', 'play'], ['1 2 3 4', 'tabs']];
	$('keys').replaceChildren(h('h1', {}, t('help.title')), h('dl', {}, rows.map(([keys, key]) => [h('dt', {}, h('kbd', {}, keys)), h('dd', {}, t(`key.${key}`))])),
		h('p', {}, h('a', { href: '/licenses.txt', target: '_blank', rel: 'noopener' }, t('help.licenses'))),
		h('form', { method: 'dialog' }, h('button', { class: 'primary' }, t('help.close'))));
	$('keys').showModal();
}

// The page --------------------------------------------------------------------------------------

function theme() {
	return localStorage.getItem('nijimi-theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
}

function showTheme() {
	document.documentElement.dataset.theme = theme();
	$('theme').textContent = t(theme() === 'dark' ? 'theme.light' : 'theme.dark');
	canvas?.restyle();
}

function showAll() {
	translate();
	showTheme();
	$('language').textContent = t('language.short');
	$('language').lang = languageName() === 'en' ? 'ja' : 'en';
	showConnection();
	showVms();
	showFilters();
	showReplay();
	showDetails();
	showAlerts();
	for (const node of state.view.nodes)
		Object.assign(captionOf(node), { titleShown: undefined, detailShown: undefined });
	openTab(state.tab);
	notice();
}

function lock(wrong) {
	reading.abort();
	if (wrong)
		forgetToken();
	$('locked').hidden = false;
	$('locked-why').hidden = !wrong;
	$('app').hidden = true;
	translate();
	$('token').focus();
}

function unlock(event) {
	event.preventDefault();
	if (setToken($('token').value))
		location.reload();
	else
		lock(true);
}

function filter(key, read) {
	return (event) => {
		state[key] = read(event.target);
		showFilters();
		reset();
	};
}

function connectControls() {
	const on = (id, type, work) => $(id).addEventListener(type, work);
	on('language', 'click', () => { switchLanguage(); showAll(); });
	on('theme', 'click', () => { localStorage.setItem('nijimi-theme', theme() === 'dark' ? 'light' : 'dark'); showTheme(); showReplay(); });
	on('help', 'click', help);
	on('brand', 'click', (event) => { event.preventDefault(); clearSelection(); openTab('graph'); });
	on('search', 'input', (event) => { state.query = event.target.value; showFound(); });
	on('search', 'keydown', searchKey);
	on('search', 'blur', () => { $('found').hidden = true; });
	on('search', 'focus', showFound);
	on('label', 'change', filter('label', (element) => element.value));
	on('period', 'change', filter('period', (element) => element.value));
	on('grouping', 'change', filter('grouping', (element) => element.value));
	on('ended', 'change', filter('ended', (element) => element.checked));
	on('from', 'change', reset);
	on('to', 'change', reset);
	on('zoom-in', 'click', () => canvas.zoom(1.25));
	on('zoom-out', 'click', () => canvas.zoom(0.8));
	on('zoom-fit', 'click', () => GRAPH_KEYS[0]());
	on('play', 'click', play);
	on('live', 'click', goLive);
	on('time', 'input', (event) => { stop(); state.step = Number(event.target.value); showReplay(); });
	on('graph', 'keydown', graphKey);
	on('tabs', 'keydown', tabKey);
	for (const tab of TABS)
		on(`tab-${tab}`, 'click', () => openTab(tab));
	document.addEventListener('keydown', pageKey);
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', showTheme);
	addEventListener('hashchange', () => { takeToken(); location.reload(); });
}

async function start() {
	translate();
	showTheme();
	const token = takeToken();
	$('unlock').addEventListener('submit', unlock);
	if (!token) {
		lock(false);
		return;
	}
	try {
		const { vms } = await ask({ command: 'vms' });
		const { alerts } = await ask({ command: 'alerts', last: 500 }).catch((error) => { if (error instanceof Refused) throw error; return { alerts: [] }; });
		$('app').hidden = false;
		worker = new Worker('/worker.js');
		worker.onmessage = placed;
		canvas = new Canvas($('graph'), { reduced: reducedMotion, picked: selectView });
		state.alerts = alerts;
		connectControls();
		showAll();
		if (!vms.length)
			begin();
		TOLD.vms({ vms });
	} catch (error) {
		if (error instanceof Refused)
			lock(true);
		else
			setTimeout(() => location.reload(), 2000);
	}
}

start();
