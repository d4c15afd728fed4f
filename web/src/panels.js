// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the page that are made of text: details, alerts, matrix, list.
import { h, name } from './dom.js';
import { Model } from './model.js';
import { formatBytes, formatNumber, formatTime, t } from './text.js';

const MANY = 8, MEMBERS = 200, ROWS = 1000, STEPS = 200;

export const standingOf = (node) => (node.origin ? 'origin' : node.outside ? 'outside' : node.ended !== null || node.removed ? 'ended' : 'holds');
const classOf = (node) => (node.alerts ? 'alert' : standingOf(node));
const kindOf = (view) => (view.many ? t('kind.many', { n: formatNumber(view.members.length), kind: t(`kind.${view.kind}`) }) : t(`kind.${view.kind}`));

// Sums up a card: a group has no name of its own where its members have nothing in common.
export function captionOf(view) {
	view.label = view.title || kindOf(view);
	view.sub = view.many ? (view.title ? kindOf(view) : '') : view.detail;
	return view;
}

const link = (text, onclick, title = text) => h('button', { type: 'button', class: 'link', title, onclick }, text);
const more = (count) => count > 0 && h('li', { class: 'muted' }, t('glance.more', { n: formatNumber(count) }));

function nodeRow(node, actions, extra) {
	return h('li', {}, h('i', { class: classOf(node) }), link(node.title, () => actions.select(node), node.whole), h('small', { class: 'cut' }, extra ?? node.detail));
}

// Path steps ------------------------------------------------------------------------------------

function pathList(path, actions) {
	const steps = path.steps.slice(-STEPS);
	return h('ol', { class: 'path' }, steps.map((step) => h('li', { class: classOf(step.to) },
		link(step.to.title, () => actions.select(step.to), step.to.whole),
		h('small', {}, step.from ? `${step.syscall} · ${formatTime(step.time)} · ` : `${t('path.classified')} · ${formatTime(step.time)}`,
			step.from && h('span', { class: 'bytes', title: t('path.bytes') }, formatBytes(step.bytes))),
		step.to.detail && h('small', { class: 'cut', title: step.to.detail }, step.to.detail))));
}

// Details ---------------------------------------------------------------------------------------

const FIELDS = ['path', 'host_path', 'exe', 'pid', 'inner_pid', 'uid', 'local', 'peer', 'family', 'filesystem', 'device', 'inode'];

function tile(value, label, kind) {
	return h('div', { class: value > 0 ? kind ?? '' : '' }, h('b', {}, formatNumber(value)), h('span', {}, label));
}

export function glancePanel(vm, model, label, actions) {
	const origins = [], outside = [], counts = { file: 0, process: 0, socket: 0 };
	for (const node of model.nodes.values()) {
		if (label && !node.labels.has(label))
			continue;
		if (node.origin)
			origins.push(node);
		if (node.outside && node.incoming.length)
			outside.push(node);
		if (node.kind in counts && Model.holds(node, label))
			counts[node.kind]++;
	}
	const alerted = [...model.nodes.values()].reduce((sum, node) => sum + node.alerts, 0);
	const newest = model.edges.slice(-MANY).reverse();
	return [
		h('h3', {}, name(vm.name)),
		h('p', { class: 'muted' }, h('span', { class: `state ${vm.state}` }, t(`state.${vm.state}`)), ' ', name(vm.kernel ?? '')),
		vm.reason && h('p', { class: 'warning' }, `${t('glance.reason')}: `, name(vm.reason)),
		h('h2', {}, t('glance.now')),
		h('div', { class: 'tiles' }, tile(counts.file, t('glance.files')), tile(counts.process, t('glance.processes')), tile(counts.socket, t('glance.sockets')),
			tile(outside.length, t('glance.outside'), 'warn'), tile(alerted, t('glance.alerts'), 'bad'), tile(vm.gap_count, t('glance.gaps'), 'warn')),
		h('h2', {}, t('glance.risk')),
		h('ul', { class: 'rows' }, outside.length ? [outside.slice(-MANY).reverse().map((node) => nodeRow(node, actions, node.incoming[0]?.from?.title)), more(outside.length - MANY)] : h('li', { class: 'muted' }, t('glance.none'))),
		h('h2', {}, t('glance.origins')),
		h('ul', { class: 'rows' }, origins.length ? [origins.slice(0, MANY).map((node) => nodeRow(node, actions)), more(origins.length - MANY)] : h('li', { class: 'muted' }, t('glance.none'))),
		h('h2', {}, t('glance.newest')),
		h('ul', { class: 'rows', id: 'newest' }, newest.map((step) => nodeRow(step.to, actions, `${step.from ? `${step.from.title} · ${step.syscall}` : t('path.classified')} · ${formatTime(step.time)}`))),
		vm.gap_count > 0 && h('p', { class: 'muted' }, t('glance.gap-note', { n: formatNumber(vm.gap_count), vm: vm.name })),
	];
}

function nodeFields(node) {
	const rows = FIELDS.filter((field) => node.object[field] !== undefined && node.object[field] !== null && node.object[field] !== '')
		.map((field) => [t(`field.${field}`), String(node.object[field])]);
	if (node.incoming.length)
		rows.push([t('field.first'), formatTime(node.incoming[0].time, 'date')]);
	if (node.ended)
		rows.push([t('field.ended'), formatTime(node.ended, 'date')]);
	return h('dl', {}, h('dt', {}, t('field.standing')), h('dd', {}, t(`standing.${classOf(node)}`)),
		h('dt', {}, t('field.labels')), h('dd', {}, [...node.labels].flatMap((label) => [h('span', { class: 'chip' }, label), ' '])),
		rows.map(([key, value]) => [h('dt', {}, key), h('dd', { tabindex: value.length > 200 ? 0 : null }, value)]));
}

export function nodePanel(node, model, label, actions) {
	const path = model.pathTo(node, label);
	const onward = [...new Set(node.outgoing.map((step) => step.to))];
	return [
		h('button', { type: 'button', class: 'close', onclick: actions.clear, 'aria-label': t('details.close') }, '×'),
		h('p', { class: 'muted' }, t(`kind.${node.kind}`)),
		h('h3', { title: node.whole }, node.title.length > 160 ? `${node.title.slice(0, 160)}…` : node.title),
		nodeFields(node),
		h('h2', {}, t('path.title'), path.label ? ` (${t('path.of', { label: path.label })})` : ''),
		!path.whole && h('p', { class: 'warning' }, t('path.incomplete')),
		pathList(path, actions),
		h('h2', {}, `${t('onward.title')} (${formatNumber(onward.length)})`),
		h('ul', { class: 'rows' }, onward.slice(0, 30).map((next) => nodeRow(next, actions)), more(onward.length - 30)),
	];
}

export function groupPanel(view, actions) {
	return [
		h('button', { type: 'button', class: 'close', onclick: actions.clear, 'aria-label': t('details.close') }, '×'),
		h('p', { class: 'muted' }, view.sub),
		h('h3', {}, view.label),
		h('p', {}, h('button', { type: 'button', onclick: () => actions.expand(view) }, t('members.expand'))),
		h('h2', {}, t('members.title')),
		h('ul', { class: 'rows' }, view.members.slice(0, MEMBERS).map((node) => nodeRow(node, actions)), more(view.members.length - MEMBERS)),
	];
}

// Alerts ----------------------------------------------------------------------------------------

const describeEnd = (end) => (end ? end.path ?? (end.comm ? `${end.comm} [${end.pid}]` : end.peer ?? end.address ?? end.local ?? '?') : '?');

// A sentence with names in it, each kept apart.
function sentence(key, values) {
	return t(key, Object.fromEntries(Object.keys(values).map((part) => [part, `\0${part}\0`]))).split('\0').map((part) => (part in values ? h('strong', { class: 'name' }, values[part]) : part));
}

export const alertText = (alert) => `${alert.vm}: ${alert.label} → ${alert.destination}`;

function alertCard(alert, actions) {
	const origin = alert.origin ? describeEnd(alert.origin) : t('alert.unknown');
	return h('article', { class: `alert-card${alert.blocked ? ' blocked' : ''}`, 'data-id': alert.id },
		h('div', { class: 'top' }, h('span', {}, `#${alert.id}`), h('span', {}, formatTime(alert.time, 'date')), name(alert.vm), h('span', { class: 'chip' }, t('alert.sink', { sink: alert.sink })),
			alert.blocked && h('span', { class: 'chip' }, t('alert.stopped')), alert.repeated > 0 && h('span', {}, t('alert.repeated', { n: formatNumber(alert.repeated) }))),
		h('p', {}, sentence(alert.blocked ? 'alert.blocked' : 'alert.sentence', { label: alert.label, origin, destination: alert.destination }),
			alert.process && [' · ', sentence('alert.by', { process: `${alert.process.comm} [${alert.process.pid}]` })]),
		h('details', {}, h('summary', {}, t('alert.path', { n: alert.path.length })),
			!alert.path_complete && h('p', { class: 'warning' }, t('path.incomplete')),
			h('ol', { class: 'path' }, alert.path.map((step, i) => h('li', { class: i === 0 && !step.from ? 'origin' : i === alert.path.length - 1 ? 'alert' : '' },
				name(describeEnd(step.to)), h('small', {}, `${step.from ? step.syscall : t('path.classified')} · ${formatTime(step.time)}`))))),
		h('button', { type: 'button', onclick: () => actions.showAlert(alert) }, t('alert.show')));
}

export function alertsPanel(alerts, actions) {
	const cards = alerts.slice(-MEMBERS).reverse().map((alert) => alertCard(alert, actions));
	return cards.length ? cards : [h('p', { class: 'muted' }, t('alerts.none'))];
}

// Labels and VMs --------------------------------------------------------------------------------

export function matrixPanel(vms, counts, actions) {
	const labels = [...new Set([...counts.values()].flatMap((of) => [...of.keys()]))].sort();
	if (!labels.length)
		return [h('p', { class: 'muted' }, t('matrix.none'))];
	const shown = vms.filter((vm) => vm.state !== 'gone' || counts.get(vm.name)?.size);
	const cell = (label, vm) => {
		const of = counts.get(vm.name)?.get(label), sum = of ? of.files + of.processes + of.sockets : 0;
		if (!sum)
			return h('td', {}, h('button', { type: 'button', disabled: true, 'aria-label': t('matrix.cell', { n: 0, vm: vm.name, label }) }, '·'));
		return h('td', { class: `heat${Math.min(1 + Math.floor(Math.log10(sum)), 4)}` }, h('button', { type: 'button', 'aria-label': t('matrix.cell', { n: sum, vm: vm.name, label }), onclick: () => actions.showLabel(vm.name, label) },
			h('b', {}, formatNumber(sum)), h('small', {}, t('matrix.kinds', { files: formatNumber(of.files), processes: formatNumber(of.processes), sockets: formatNumber(of.sockets) }))));
	};
	return [h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, t('matrix.label')), shown.map((vm) => h('th', { scope: 'col', title: vm.name }, vm.name)))),
		h('tbody', {}, labels.map((label) => h('tr', {}, h('th', { scope: 'row', title: label }, label), shown.map((vm) => cell(label, vm))))))];
}

// The same as the graph, for those who do not see it --------------------------------------------

export function listPanel(nodes, actions) {
	const rows = [...nodes].sort((a, b) => a.first - b.first);
	return [h('table', {}, h('thead', {}, h('tr', {}, ['kind', 'name', 'labels', 'since', 'state'].map((key) => h('th', { scope: 'col' }, t(`list.${key}`))))),
		h('tbody', {}, rows.slice(0, ROWS).map((node) => h('tr', {}, h('td', {}, t(`kind.${node.kind}`)),
			h('td', {}, link(node.title.slice(0, 300), () => actions.select(node), node.whole), h('small', { class: 'cut muted', title: node.detail }, node.detail)),
			h('td', {}, [...node.labels].flatMap((label) => [h('span', { class: 'chip' }, label), ' '])),
			h('td', {}, node.incoming.length ? formatTime(node.incoming[0].time) : '–'), h('td', {}, h('i', { class: classOf(node) }), t(node.alerts ? 'standing.alert' : `short.${standingOf(node)}`)))))),
	rows.length > ROWS && h('p', { class: 'muted' }, t('list.more', { n: formatNumber(rows.length - ROWS) }))];
}
