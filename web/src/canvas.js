// SPDX-License-Identifier: GPL-2.0-or-later
// Draws a view (model.js) where the worker has put its nodes: cards if they are few, dots if they are many. Names are painted as
// text, so nothing in them can be markup.
import { quadtree } from 'd3-quadtree';

export const CARD = { width: 178, height: 40 };
const DOT = 6, MARGIN = 30, LEGEND = 24, MOVE_MILLISECONDS = 350;
const PIECE = 300; // lines of one path: of many, a path takes longer than its parts
const SCALE_LEAST = 0.02, SCALE_MOST = 3;
const FONT = 'system-ui, "Noto Sans", "Noto Sans CJK JP", "Hiragino Sans", sans-serif';

// The colours are those of the style sheet, by the standing of a node.
const COLORS = ['origin', 'holds', 'ended', 'outside', 'alert', 'edge', 'edge-text', 'card', 'text', 'muted', 'select', 'back'];

const ICONS = {
	file: (c, x, y) => { c.moveTo(x - 4, y - 6); c.lineTo(x + 2, y - 6); c.lineTo(x + 5, y - 3); c.lineTo(x + 5, y + 6); c.lineTo(x - 4, y + 6); c.closePath(); },
	process: (c, x, y) => { for (let i = 0; i < 6; i++) c[i ? 'lineTo' : 'moveTo'](x + 6.5 * Math.cos((i * Math.PI) / 3), y + 6.5 * Math.sin((i * Math.PI) / 3)); c.closePath(); },
	socket: (c, x, y) => { c.moveTo(x, y - 7); c.lineTo(x + 7, y); c.lineTo(x, y + 7); c.lineTo(x - 7, y); c.closePath(); },
	endpoint: (c, x, y) => { c.moveTo(x - 6, y - 6); c.lineTo(x + 1, y - 6); c.lineTo(x + 7, y); c.lineTo(x + 1, y + 6); c.lineTo(x - 6, y + 6); c.closePath(); },
	unknown: (c, x, y) => { c.moveTo(x + 6, y); c.arc(x, y, 6, 0, 7); },
};

export class Canvas {
	constructor(element, { reduced, picked }) {
		this.element = element;
		this.context = element.getContext('2d');
		this.reduced = reduced;
		this.view = { nodes: [], links: [] };
		this.cards = true;
		this.vertical = false;
		this.layered = true;
		this.scale = 1;
		this.x = this.y = 0;
		this.step = Infinity;
		this.path = new Set();
		this.selected = null;
		this.matches = null;
		this.frames = 0;
		this.touched = false; // by the user, who then sees what he wants to
		new ResizeObserver(() => this.resize()).observe(element);
		this.listen(picked);
		this.restyle();
		this.resize();
	}

	restyle() {
		const style = getComputedStyle(this.element);
		this.color = Object.fromEntries(COLORS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
		this.draw();
	}

	resize() {
		const { clientWidth: width, clientHeight: height } = this.element;
		this.ratio = Math.min(devicePixelRatio || 1, 2);
		if (!width || !height)
			return;
		this.element.width = Math.round(width * this.ratio);
		this.element.height = Math.round(height * this.ratio);
		this.width = width;
		this.height = height;
		if (!this.touched)
			this.fit();
		this.draw();
	}

	// A view of which nothing has a place yet; nodes that were there keep theirs.
	setView(view) {
		this.view = view;
		this.tree = null;
		this.draw();
	}

	// Places from the worker.
	place(xs, ys, { cards, vertical, layered }) {
		this.cards = cards;
		this.layered = layered;
		this.vertical = vertical;
		const nodes = this.view.nodes, glide = !this.reduced() && nodes.length < 500 && nodes.some((node) => node.placed);
		nodes.forEach((node, i) => {
			node.fromX = node.placed && glide ? node.x : xs[i];
			node.fromY = node.placed && glide ? node.y : ys[i];
			node.toX = xs[i];
			node.toY = ys[i];
			node.placed = true;
		});
		this.tree = null;
		this.glideStart = glide ? performance.now() : -Infinity;
		this.advance();
		if (!this.touched)
			this.fit();
		this.draw();
	}

	// Between the old places and the new.
	advance() {
		const part = Math.min((performance.now() - this.glideStart) / MOVE_MILLISECONDS, 1), eased = part * (2 - part);
		for (const node of this.view.nodes) {
			node.x = node.fromX + (node.toX - node.fromX) * eased;
			node.y = node.fromY + (node.toY - node.fromY) * eased;
		}
		this.gliding = part < 1;
	}

	bounds() {
		let left = Infinity, right = -Infinity, top = Infinity, bottom = -Infinity;
		for (const node of this.view.nodes) {
			if (!node.placed)
				continue;
			const x = node.toX, y = node.toY;
			left = Math.min(left, x);
			right = Math.max(right, x);
			top = Math.min(top, y);
			bottom = Math.max(bottom, y);
		}
		const w = this.cards ? CARD.width / 2 : DOT, h = this.cards ? CARD.height / 2 : DOT;
		return { left: left - w, right: right + w, top: top - h, bottom: bottom + h };
	}

	fit() {
		const { left, right, top, bottom } = this.bounds();
		if (!(right > left) || !this.width)
			return;
		const height = this.height - LEGEND; // which is below
		const scale = Math.min((this.width - 2 * MARGIN) / (right - left), (height - 2 * MARGIN) / (bottom - top), 1.25);
		this.scale = Math.max(scale, SCALE_LEAST);
		this.x = this.width / 2 - ((left + right) / 2) * this.scale;
		this.y = height / 2 - ((top + bottom) / 2) * this.scale;
		this.draw();
	}

	zoom(factor, x = this.width / 2, y = this.height / 2) {
		const scale = Math.min(Math.max(this.scale * factor, SCALE_LEAST), SCALE_MOST);
		this.x = x - ((x - this.x) * scale) / this.scale;
		this.y = y - ((y - this.y) * scale) / this.scale;
		this.scale = scale;
		this.touched = true;
		this.draw();
	}

	// Brings a node into sight, large enough to read.
	show(node) {
		if (!node.placed)
			return;
		const x = node.toX * this.scale + this.x, y = node.toY * this.scale + this.y;
		const inside = x > MARGIN && y > MARGIN && x < this.width - MARGIN && y < this.height - MARGIN;
		if (inside && this.scale >= (this.cards ? 0.45 : 0.5))
			return;
		this.scale = Math.max(this.scale, 0.8);
		this.x = this.width / 2 - node.toX * this.scale;
		this.y = this.height / 2 - node.toY * this.scale;
		this.touched = true;
		this.draw();
	}

	draw() {
		if (!this.requested)
			this.requested = requestAnimationFrame(() => { this.requested = 0; this.paint(); });
	}

	// Painting --------------------------------------------------------------------------------

	paint() {
		const c = this.context;
		if (this.gliding)
			this.advance();
		c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
		c.fillStyle = this.color.back;
		c.fillRect(0, 0, this.width, this.height);
		c.setTransform(this.scale * this.ratio, 0, 0, this.scale * this.ratio, this.x * this.ratio, this.y * this.ratio);
		const seen = { left: -this.x / this.scale - 120, right: (this.width - this.x) / this.scale + 120, top: -this.y / this.scale - 60, bottom: (this.height - this.y) / this.scale + 60 };
		this.seen = (node) => node.placed && node.x > seen.left && node.x < seen.right && node.y > seen.top && node.y < seen.bottom;
		this.paintLinks(c);
		if (this.cards)
			this.paintCards(c);
		else
			this.paintDots(c);
		this.frames++;
		if (this.gliding)
			this.draw();
	}

	isShown(item) {
		return item.first <= this.step;
	}

	isDimmed(node) {
		return this.matches ? !this.matches.has(node) : this.path.size > 0 && !this.path.has(node) && node !== this.selected;
	}

	paintLinks(c) {
		const plain = !this.layered || this.scale < 0.25, groups = { plain: [], dim: [], path: [] };
		for (const link of this.view.links) {
			if (!link.from.placed || !link.to.placed || !this.isShown(link) || !(this.seen(link.from) || this.seen(link.to)))
				continue;
			const onPath = this.path.has(link);
			groups[onPath ? 'path' : this.path.size || this.matches ? 'dim' : 'plain'].push(link);
		}
		for (const [name, links] of Object.entries(groups)) {
			c.strokeStyle = c.fillStyle = name === 'path' ? this.color.select : this.color.edge;
			c.globalAlpha = name === 'dim' ? 0.35 : plain && name === 'plain' ? 0.55 : 1;
			c.lineWidth = (name === 'path' ? 2.6 : 1.3) / (plain ? this.scale : Math.min(this.scale, 1) ** 0.5);
			for (let i = 0; i < links.length; i += PIECE) {
				c.beginPath();
				for (const link of links.slice(i, i + PIECE))
					this.trace(c, link, plain);
				c.stroke();
			}
			for (const link of links)
				if (!plain)
					this.paintHead(c, link, name);
				else if (this.cards || name === 'path')
					this.paintMiddle(c, link);
		}
		c.globalAlpha = 1;
	}

	// From the far side of one to the near side of the other, or back around.
	ends(link) {
		const dx = this.layered && !this.vertical ? CARD.width / 2 : 0, dy = this.layered && this.vertical ? CARD.height / 2 : 0;
		return { x1: link.from.x + dx, y1: link.from.y + dy, x2: link.to.x - dx, y2: link.to.y - dy };
	}

	trace(c, link, plain) {
		const { x1, y1, x2, y2 } = this.ends(link);
		c.moveTo(x1, y1);
		if (plain) {
			c.lineTo(x2, y2);
			return;
		}
		if (this.vertical) {
			const bend = Math.max(Math.abs(y2 - y1) / 2, 20);
			c.bezierCurveTo(x1, y1 + bend, x2, y2 - bend, x2, y2);
			return;
		}
		const bend = Math.max(Math.abs(x2 - x1) / 2, 36);
		c.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
	}

	// Of a straight line under cards the head would not be seen.
	paintMiddle(c, link) {
		const { x1, y1, x2, y2 } = this.ends(link), angle = Math.atan2(y2 - y1, x2 - x1), size = 5 / this.scale ** 0.7;
		const at = (turn, r) => [(x1 + x2) / 2 + r * Math.cos(angle + turn), (y1 + y2) / 2 + r * Math.sin(angle + turn)];
		c.beginPath();
		c.moveTo(...at(0, size));
		c.lineTo(...at(2.5, size));
		c.lineTo(...at(-2.5, size));
		c.fill();
	}

	paintHead(c, link, name) {
		const { x1, y1, x2, y2 } = this.ends(link);
		c.beginPath();
		c.moveTo(x2 + 1, y2);
		c.lineTo(this.vertical ? x2 - 4 : x2 - 8, this.vertical ? y2 - 8 : y2 - 4);
		c.lineTo(this.vertical ? x2 + 4 : x2 - 8, this.vertical ? y2 - 8 : y2 + 4);
		c.fill();
		if (this.scale < 0.5 || name === 'dim')
			return;
		const calls = [...link.syscalls], text = calls.length > 2 ? `${calls[0]} +${calls.length - 1}` : calls.join(', ');
		c.font = `10px ${FONT}`;
		c.textAlign = 'center';
		const x = (x1 + x2) / 2, y = (y1 + y2) / 2, width = Math.min(c.measureText(text).width, 90);
		c.fillStyle = this.color.back;
		c.fillRect(x - width / 2 - 2, y - 7, width + 4, 13);
		c.fillStyle = name === 'path' ? this.color.select : this.color['edge-text'];
		c.fillText(text, x, y + 3, 90);
		c.fillStyle = name === 'path' ? this.color.select : this.color.edge;
	}

	colorOf(node) {
		return node.alerts ? this.color.alert : this.color[node.standing];
	}

	paintCards(c) {
		for (const node of this.view.nodes) {
			if (!this.seen(node))
				continue;
			c.globalAlpha = !this.isShown(node) ? 0.13 : this.isDimmed(node) ? 0.32 : 1;
			this.paintCard(c, node);
		}
		c.globalAlpha = 1;
	}

	paintCard(c, node) {
		const { width, height } = CARD, x = node.x - width / 2, y = node.y - height / 2, color = this.colorOf(node);
		const box = (dx, dy) => { c.beginPath(); c.roundRect(x + dx, y + dy, width, height, 9); };
		for (let i = node.many ? 2 : 0; i >= 0; i--) {
			box(3 * i, -3 * i);
			c.fillStyle = this.color.card;
			c.fill();
			c.strokeStyle = color;
			c.lineWidth = node === this.selected ? 3 : node.alerts || node.standing === 'origin' || node.standing === 'outside' ? 2 : 1.2;
			c.setLineDash(node.standing === 'ended' ? [4, 3] : []);
			c.stroke();
		}
		c.setLineDash([]);
		if (node === this.selected) {
			c.strokeStyle = this.color.select;
			c.lineWidth = 2;
			c.beginPath();
			c.roundRect(x - 4, y - 4, width + 8, height + 8, 12);
			c.stroke();
		}
		c.fillStyle = color;
		c.beginPath();
		c.roundRect(x, y, 30, height, [9, 0, 0, 9]);
		if (node.standing === 'ended')
			c.globalAlpha *= 0.45;
		c.fill();
		if (node.standing === 'ended')
			c.globalAlpha /= 0.45;
		c.fillStyle = this.color.card;
		c.beginPath();
		ICONS[node.kind](c, x + 15, node.y);
		c.fill();
		if (this.scale > 0.3)
			this.paintText(c, node, x);
	}

	paintText(c, node, x) {
		c.textAlign = 'left';
		c.direction = 'ltr';
		c.fillStyle = this.color.text;
		c.font = `600 12.5px ${FONT}`;
		const room = CARD.width - 44;
		node.titleShown ??= shorten(c, node.label ?? node.title, room);
		c.fillText(node.titleShown, x + 37, node.sub || node.detail ? node.y - 2 : node.y + 4);
		if (!(node.sub ?? node.detail) || this.scale < 0.4)
			return;
		c.font = `10.5px ${FONT}`;
		c.fillStyle = this.color.muted;
		node.detailShown ??= shortenFront(c, node.sub ?? node.detail, room);
		c.fillText(node.detailShown, x + 37, node.y + 12);
	}

	paintDots(c) {
		const byColor = new Map();
		for (const node of this.view.nodes) {
			if (!this.seen(node))
				continue;
			const alpha = !this.isShown(node) ? 0.12 : this.isDimmed(node) ? 0.2 : 1, key = `${this.colorOf(node)} ${alpha}`;
			if (!byColor.has(key))
				byColor.set(key, { color: this.colorOf(node), alpha, nodes: [] });
			byColor.get(key).nodes.push(node);
		}
		const least = 1.6 / this.scale;
		for (const { color, alpha, nodes } of byColor.values()) {
			c.fillStyle = color;
			c.globalAlpha = alpha;
			for (const node of nodes) {
				const r = Math.max(DOT * (node.many ? 1.6 : 1) * (node.standing === 'origin' || node.alerts ? 1.5 : 1), least);
				if (r * this.scale < 4) { // nobody sees that it is not round
					c.fillRect(node.x - r, node.y - r, 2 * r, 2 * r);
					continue;
				}
				c.beginPath();
				c.arc(node.x, node.y, r, 0, 7);
				c.fill();
			}
		}
		c.globalAlpha = 1;
		if (this.selected?.placed) {
			c.strokeStyle = this.color.select;
			c.lineWidth = 3 / this.scale;
			c.beginPath();
			c.arc(this.selected.x, this.selected.y, Math.max(DOT * 2, 7 / this.scale), 0, 7);
			c.stroke();
		}
		this.paintNames(c);
	}

	// Of as many as there is room for: what matters most comes first.
	paintNames(c) {
		const taken = [], size = 11 / this.scale, limit = 60;
		const candidates = this.view.nodes.filter((node) => this.seen(node) && this.isShown(node) && !this.isDimmed(node));
		const rank = (node) => (node === this.selected ? 5 : this.path.has(node) ? 4 : node.alerts ? 3 : node.standing === 'origin' ? 2 : node.standing === 'outside' ? 1.5 : Math.min(node.outgoing.length / 100, 1));
		candidates.sort((a, b) => rank(b) - rank(a));
		c.font = `${size}px ${FONT}`;
		c.textAlign = 'left';
		c.direction = 'ltr';
		for (const node of candidates.slice(0, 1500)) {
			if (taken.length >= limit)
				break;
			const text = (node.label ?? node.title).slice(0, 40), box = { x: node.x + DOT * 1.7, y: node.y - size / 2, w: text.length * size * 0.56, h: size * 1.3 };
			if (taken.some((other) => box.x < other.x + other.w && other.x < box.x + box.w && box.y < other.y + other.h && other.y < box.y + box.h))
				continue;
			taken.push(box);
			c.lineWidth = 3 / this.scale;
			c.strokeStyle = this.color.back;
			c.strokeText(text, box.x, node.y + size / 3);
			c.fillStyle = this.color.text;
			c.fillText(text, box.x, node.y + size / 3);
		}
	}

	// Pointing --------------------------------------------------------------------------------

	find(clientX, clientY) {
		const box = this.element.getBoundingClientRect(), x = (clientX - box.left - this.x) / this.scale, y = (clientY - box.top - this.y) / this.scale;
		if (this.cards)
			return this.view.nodes.findLast((node) => node.placed && Math.abs(node.x - x) <= CARD.width / 2 && Math.abs(node.y - y) <= CARD.height / 2) ?? null;
		this.tree ??= quadtree(this.view.nodes.filter((node) => node.placed), (node) => node.toX, (node) => node.toY);
		return this.tree.find(x, y, Math.max(DOT * 2, 9 / this.scale)) ?? null;
	}

	listen(picked) {
		const element = this.element;
		let drag = null;
		element.addEventListener('pointerdown', (event) => {
			if (event.button !== 0)
				return;
			drag = { x: event.clientX, y: event.clientY, moved: false };
			element.setPointerCapture(event.pointerId);
		});
		element.addEventListener('pointermove', (event) => {
			if (!drag) {
				element.style.cursor = this.find(event.clientX, event.clientY) ? 'pointer' : 'grab';
				return;
			}
			const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
			if (!drag.moved && Math.hypot(dx, dy) < 4)
				return;
			drag = { x: event.clientX, y: event.clientY, moved: true };
			this.x += dx;
			this.y += dy;
			this.touched = true;
			this.draw();
		});
		element.addEventListener('pointerup', (event) => {
			if (drag && !drag.moved)
				picked(this.find(event.clientX, event.clientY));
			drag = null;
		});
		element.addEventListener('pointercancel', () => { drag = null; });
		element.addEventListener('wheel', (event) => {
			event.preventDefault();
			const box = element.getBoundingClientRect();
			this.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 120) * 0.0022), event.clientX - box.left, event.clientY - box.top);
		}, { passive: false });
	}
}

function shorten(c, text, room) {
	if (c.measureText(text).width <= room)
		return text;
	const characters = [...text.slice(0, 200)];
	while (characters.length > 1 && c.measureText(`${characters.join('')}…`).width > room)
		characters.pop();
	return `${characters.join('')}…`;
}

// Of a path the end says more.
function shortenFront(c, text, room) {
	if (c.measureText(text).width <= room)
		return text;
	const characters = [...text.slice(-200)];
	while (characters.length > 1 && c.measureText(`…${characters.join('')}`).width > room)
		characters.shift();
	return `…${characters.join('')}`;
}
