// SPDX-License-Identifier: GPL-2.0-or-later
// Elements are made of text, never of markup: what a guest has named stays a name.

export const $ = (id) => document.getElementById(id);

// h('li', { class: 'x', onclick: f }, 'text', element, ...); null and false are left out.
export function h(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith('on'))
			element.addEventListener(name.slice(2), value);
		else if (value !== null && value !== undefined && value !== false)
			element.setAttribute(name, value === true ? '' : value);
	}
	element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
	return element;
}

export const name = (text, attributes = {}) => h('bdi', { class: 'name', ...attributes }, text);
