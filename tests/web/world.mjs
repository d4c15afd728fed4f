// SPDX-License-Identifier: GPL-2.0-or-later
// A real daemon in a folder of its own, agents that tell what a script says (tests/unit/policy_agent.c), and a browser that lets no
// request leave the machine.
import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createRequire } from 'node:module';

const CHROMIUM = '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

export class World {
	constructor(build) {
		this.build = build;
		this.directory = mkdtempSync(path.join(tmpdir(), 'nijimi-web.'));
		this.socket = path.join(this.directory, 'socket');
		this.state = path.join(this.directory, 'state');
		this.agents = [];
		this.requests = [];
		this.instance = 0;
	}

	// Until it says that it is ready.
	async start(options = []) {
		this.daemon = spawn(path.join(this.build, 'nijimid'), ['--socket', this.socket, '--state', this.state, '--ready-fd', '3', ...options], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
		this.log = '';
		this.daemon.stderr.on('data', (data) => { this.log += data; });
		const ready = await new Promise((resolve) => { this.daemon.stdio[3].once('data', (data) => resolve(String(data))); });
		if (ready !== 'ready')
			throw new Error(`nijimid: ${ready}`);
	}

	async stop(signal = 'SIGTERM') {
		if (!this.daemon)
			return undefined;
		const ended = new Promise((resolve) => { this.daemon.once('exit', (code) => resolve(code)); });
		this.daemon.kill(signal);
		this.daemon = null;
		return ended;
	}

	nijimi(...words) {
		return execFileSync(path.join(this.build, 'nijimi'), [...words, '--socket', this.socket], { encoding: 'utf8' });
	}

	policy(text) {
		const file = path.join(this.directory, 'policy.yaml');
		writeFileSync(file, text);
		return file;
	}

	// An agent; agent.say(lines) is done when all of them are.
	async agent(name) {
		const process = spawn(path.join(this.build, 'tests/unit/policy_agent'), [this.socket, name, String(++this.instance)], { stdio: ['pipe', 'pipe', 'inherit'] });
		const waiting = [];
		createInterface({ input: process.stdout }).on('line', (line) => {
			if (line.startsWith('done: ') && --waiting[0].left === 0)
				waiting.shift().resolve();
			else if (line.startsWith('failed: '))
				waiting.shift().reject(new Error(line));
		});
		const agent = {
			process,
			say: (lines) => new Promise((resolve, reject) => {
				waiting.push({ left: lines.length, resolve, reject });
				process.stdin.write(`${lines.join('\n')}\n`);
			}),
			end: () => process.stdin.end(),
		};
		this.agents.push(agent);
		await agent.say(['vm 3 ' + this.instance, 'name 0 classified']);
		return agent;
	}

	async browse(modules, options = {}) {
		const { chromium } = createRequire(path.join(modules, 'package.json'))('playwright-core');
		this.browser ??= await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
		const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, serviceWorkers: 'block', ...options });
		const page = await context.newPage();
		page.problems = [];
		// What is not for this machine is noted, and does not go out.
		await context.route('**/*', (route) => {
			const url = new URL(route.request().url());
			this.requests.push(url.href);
			return url.hostname === '127.0.0.1' || url.hostname === 'localhost' ? route.continue() : route.abort();
		});
		page.on('console', (message) => { if (message.type() === 'error' || message.type() === 'warning') page.problems.push(message.text()); });
		page.on('pageerror', (error) => page.problems.push(String(error)));
		return page;
	}

	async destroy() {
		await this.browser?.close();
		for (const agent of this.agents)
			agent.process.kill();
		await this.stop();
		rmSync(this.directory, { recursive: true, force: true });
	}
}

// A story: files are read, copied, and two ways lead out of the VM.
export const STORY = [
	'name 1 payroll',
	'ago 540', 'file 1 ext4 /srv/payroll/salaries-2026.xlsx', 'file 2 ext4 /srv/payroll/contracts.pdf', 'edge 0 1 2 classified', 'edge 0 2 2 classified',
	'ago 480', 'process 10 4101 /usr/bin/python3.11', 'edge 1 10 2 openat', 'ago 470', 'file 20 ext4 /home/sato/report/summary.csv', 'edge 10 20 2 write', 'file 21 tmpfs /tmp/pandas-cache.bin', 'edge 10 21 2 mmap',
	'ago 400', 'process 11 4188 /usr/bin/tar', 'edge 20 11 2 read', 'edge 2 11 2 read', 'file 22 ext4 /home/sato/backup.tar.gz', 'edge 11 22 2 write', 'ago 390', 'end 11',
	'ago 300', 'process 12 4230 /usr/bin/rsync', 'edge 22 12 2 read', 'process 13 4231 /usr/bin/ssh', 'edge 12 13 2 write', 'inet 30 1 10.20.0.14:51514 198.51.100.23:22', 'edge 13 30 2 sendto',
	'ago 240', 'process 14 4302 /usr/sbin/nginx', 'edge 20 14 2 sendfile', 'inet 31 1 10.20.0.14:443 10.20.0.77:60122', 'edge 14 31 2 sendfile',
	'ago 120', 'process 15 4410 /usr/bin/vim', 'edge 20 15 2 read', 'file 23 ext4 /home/sato/report/.summary.csv.swp', 'edge 15 23 2 write', 'ago 60', 'end 15', 'ago 0',
];

export const POLICY = `version: 1
labels:
  - {name: payroll, files: /srv/payroll/**}
  - {name: plans, files: /srv/plans/**}
sinks:
  - {name: internet, kind: inet, to: 198.51.100.0/24}
rules:
  - {label: "*", sink: internet, action: alert}
`;

// What nijimi traced of a random program in a guest of the lab (bench/random; `nijimi state vm1 --json`), as lines for an agent.
export function recorded() {
	const state = JSON.parse(readFileSync(new URL('recorded.json', import.meta.url)));
	const numbers = new Map(), lines = [], names = new Set();
	const bytes = (text) => [...Buffer.from(text)].map((byte) => (byte > 32 && byte < 127 && byte !== 37 ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0')}`)).join('');
	const describe = {
		file: (o, n) => `file ${n} ${o.filesystem ?? 'none'} ${bytes(o.path)}`,
		process: (o, n) => `process ${n} ${o.pid} ${bytes(o.exe ?? `/${o.comm}`)}`,
		socket: (o, n) => `inet ${n} 1 ${bytes(o.local ?? '-')} ${bytes(o.peer ?? o.address ?? '-')}`,
		endpoint: (o, n) => `endpoint ${n} 2 1 ${bytes(o.address ?? o.peer ?? '-')}`,
	};
	const numberOf = (end) => {
		if (!end)
			return 0;
		if (!numbers.has(end.id)) {
			numbers.set(end.id, numbers.size + 1);
			lines.push(describe[end.type](end, numbers.get(end.id)));
			if (end.type === 'file')
				names.add(end.path.split('/').pop());
		}
		return numbers.get(end.id);
	};
	for (const edge of state.edges) {
		const from = numberOf(edge.from), to = numberOf(edge.to);
		lines.push(`edge ${from} ${to} 1 ${edge.syscall}`);
	}
	const depths = new Map();
	for (const { from, to } of state.edges)
		if (!depths.has(to.id))
			depths.set(to.id, { to, depth: from ? 1 + (depths.get(from.id)?.depth ?? 0) : 0 });
	const farthest = [...depths.values()].filter(({ to }) => to.type === 'file').reduce((best, each) => (each.depth > best.depth ? each : best));
	return { lines, objects: numbers.size, names, farthest: farthest.to.path };
}
