// SPDX-License-Identifier: GPL-2.0-or-later
// bench.mjs BUILD MODULES [OPTION]...: how long the page takes with many objects, in a browser without a graphics card.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fill } from './many.mjs';
import { World } from './world.mjs';

const USAGE = `usage: ./run bench web [--sizes N,...] [--json FILE]

How long the page takes with N objects (above 120; default: 200,1000,10000), in a browser without a graphics card.
`;
const [build, modules, ...words] = process.argv.slice(2);
let file, sizes;
try {
	const { values } = parseArgs({ args: words, options: { help: { type: 'boolean', short: 'h' }, json: { type: 'string' }, sizes: { type: 'string', default: '200,1000,10000' } } });
	if (values.help) {
		process.stdout.write(USAGE);
		process.exit(0);
	}
	({ json: file, sizes } = values);
	if (!sizes.split(',').every((size) => Number.isInteger(Number(size)) && Number(size) > 120))
		throw new Error(`sizes are whole numbers above 120, not '${sizes}'`);
} catch (error) {
	process.stderr.write(`bench web: ${error.message}\n${USAGE}`);
	process.exit(2);
}
const SIZES = sizes.split(',').map(Number), PATIENCE = 300000;
const world = new World(build);
const rows = [];

async function measure(count) {
	const name = `vm-${count}`, agent = await world.agent(name);
	await fill(agent, count);
	const page = await world.browse(modules);
	page.setDefaultTimeout(PATIENCE);
	await page.addInitScript(() => {
		globalThis.longest = 0;
		new PerformanceObserver((list) => { for (const entry of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, entry.duration); }).observe({ entryTypes: ['longtask'] });
	});
	const worst = async () => { const value = await page.evaluate(() => globalThis.longest); await page.evaluate(() => { globalThis.longest = 0; }); return Math.round(value); };
	await page.goto(world.nijimi('web').trim());
	await page.waitForFunction(() => document.querySelector('#vms button'));
	await worst();
	// From the click on the VM until everything of it is there, arranged, and can be used.
	const ready = await page.evaluate(async (vm) => {
		const began = performance.now();
		document.querySelector(`#vms button[data-vm="${vm}"]`).click();
		while (document.body.dataset.ready !== vm || !document.body.dataset.arranged)
			await new Promise((resolve) => { setTimeout(resolve, 10); });
		return Math.round(performance.now() - began);
	}, name);
	const blocked = await worst();
	// Each object by itself: until the first picture, and until all have come to rest.
	const each = await page.evaluate(async () => {
		const began = performance.now(), select = document.querySelector('#grouping');
		delete document.body.dataset.arranged;
		select.value = 'each';
		select.dispatchEvent(new Event('change'));
		while (document.body.dataset.arranged === undefined)
			await new Promise((resolve) => { setTimeout(resolve, 10); });
		const first = performance.now() - began;
		while (!document.body.dataset.arranged)
			await new Promise((resolve) => { setTimeout(resolve, 10); });
		return { first: Math.round(first), rest: Math.round(performance.now() - began) };
	});
	const blockedEach = await worst();
	const frame = await page.evaluate(async () => {
		const graph = document.querySelector('#graph'), times = [];
		for (let i = 0; i < 10; i++) {
			const began = performance.now();
			graph.dispatchEvent(new WheelEvent('wheel', { deltaY: i % 2 ? 60 : -60, clientX: 600, clientY: 400, cancelable: true }));
			await new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); });
			times.push(performance.now() - began);
		}
		return Math.round(times.sort((a, b) => a - b)[5]);
	});
	const row = { objects: count, interactive_ms: ready, blocked_ms: blocked, each_first_ms: each.first, each_rest_ms: each.rest, each_blocked_ms: blockedEach, zoom_frame_ms: frame };
	rows.push(row);
	await page.context().close();
	agent.end();
	return row;
}

try {
	await world.start(['--web', '0']);
	console.log(`${'objects'.padStart(8)} ${'interactive'.padStart(12)} ${'blocked'.padStart(9)}   each: ${'first'.padStart(8)} ${'at rest'.padStart(9)} ${'blocked'.padStart(9)} ${'a frame'.padStart(9)}`);
	for (const count of SIZES) {
		const row = await measure(count);
		console.log(`${String(row.objects).padStart(8)} ${`${row.interactive_ms} ms`.padStart(12)} ${`${row.blocked_ms} ms`.padStart(9)}         ${`${row.each_first_ms} ms`.padStart(8)} ${`${row.each_rest_ms} ms`.padStart(9)} ${`${row.each_blocked_ms} ms`.padStart(9)} ${`${row.zoom_frame_ms} ms`.padStart(9)}`);
	}
	if (file)
		writeFileSync(file, `${JSON.stringify(rows)}\n`);
} finally {
	await world.destroy();
}
