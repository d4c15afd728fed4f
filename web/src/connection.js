// SPDX-License-Identifier: GPL-2.0-or-later
// What the daemon is asked, and what it tells without being asked. The token is kept for this tab and this origin only: no cookie,
// which would be sent to every other port of the machine, too.

const KEY = 'nijimi-token';
const RETRY_FIRST = 500, RETRY_LAST = 10000;

export class Refused extends Error {}

export function takeToken() {
	const match = /^#token=([0-9a-f]{64})$/.exec(location.hash);
	if (match) {
		sessionStorage.setItem(KEY, match[1]);
		history.replaceState(null, '', location.pathname);
	}
	return sessionStorage.getItem(KEY);
}

export function setToken(text) {
	const match = /([0-9a-f]{64})\s*$/.exec(text.trim());
	if (match)
		sessionStorage.setItem(KEY, match[1]);
	return Boolean(match);
}

export function forgetToken() {
	sessionStorage.removeItem(KEY);
}

function authorization() {
	return { Authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ''}` };
}

// An answer of the daemon; fails with what it says is wrong.
export async function ask(request, signal) {
	const response = await fetch('/api', {
		method: 'POST',
		headers: { ...authorization(), 'Content-Type': 'application/json' },
		body: JSON.stringify(request),
		signal,
	});
	if (response.status === 401)
		throw new Refused();
	const answer = await response.json();
	if (!answer.ok)
		throw new Error(answer.error.message);
	return answer;
}

// All pages of a list; `take` gets each. Returns the event that it is of.
export async function askAll(request, key, take, signal) {
	let after, asOf = request.as_of, limit = request.last;
	do {
		const answer = await ask({ ...request, after, as_of: asOf, last: after ? undefined : limit }, signal);
		asOf = answer.as_of;
		take(answer[key], answer);
		after = answer.next;
	} while (after);
	return asOf;
}

// The fields of one server-sent event.
function parseEvent(text) {
	const event = { type: 'message', data: '' };
	for (const line of text.split('\n')) {
		const colon = line.indexOf(': ');
		if (colon > 0)
			event[{ event: 'type', id: 'id', data: 'data' }[line.slice(0, colon)] ?? 'other'] = line.slice(colon + 2);
	}
	return event;
}

async function* eventsOf(response) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let parts = [];
	for (;;) {
		const { value, done } = await reader.read();
		if (done)
			return;
		// A long event comes in many parts: they are looked at once.
		parts.push(value);
		if (!value.includes('\n'))
			continue;
		const events = parts.join('').split('\n\n');
		parts = [events.pop()];
		for (const event of events)
			if (!event.startsWith(':'))
				yield parseEvent(event);
	}
}

const pause = (time, signal) => new Promise((resolve) => {
	const timer = setTimeout(resolve, time);
	signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); });
});

// Reads events until `signal`, over broken connections, from where it was. `told(type, data)`; `state`: 'live', 'lost', 'refused'.
export async function listen(query, told, state, signal) {
	let last, retry = RETRY_FIRST;
	while (!signal.aborted) {
		try {
			const headers = authorization();
			if (last)
				headers['Last-Event-ID'] = last;
			const response = await fetch(`/events?${new URLSearchParams(query)}`, { headers, signal });
			if (response.status === 401) {
				state('refused');
				return;
			}
			if (response.ok) {
				state('live');
				retry = RETRY_FIRST;
				for await (const event of eventsOf(response)) {
					if (signal.aborted) // somebody else listens now
						return;
					told(event.type, JSON.parse(event.data));
					last = event.id;
				}
			}
		} catch (error) {
			if (!signal.aborted && !(error instanceof TypeError))
				console.error(error);
		}
		if (signal.aborted)
			return;
		state('lost');
		await pause(retry, signal);
		retry = Math.min(2 * retry, RETRY_LAST);
	}
}
