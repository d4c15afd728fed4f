// SPDX-License-Identifier: GPL-2.0-or-later
// web.mjs BUILD MODULES [PATTERN]: the page in a real browser, before a real daemon.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { POLICY, recorded, STORY, World } from './world.mjs';

const [build, modules, pattern = ''] = process.argv.slice(2);
const PATIENCE = 30000;
const world = new World(build);
let page, agent;

const text = (selector) => page.locator(selector).innerText();
const number = async (selector) => Number((await text(selector)).replace(/\D/g, ''));
const arranged = () => page.waitForFunction(() => document.body.dataset.arranged, null, { timeout: PATIENCE });
const waitText = (selector, wanted) => page.locator(selector, { hasText: wanted }).first().waitFor({ timeout: PATIENCE });

async function open(options = {}) {
	await page?.context().close();
	page = await world.browse(modules, options);
	page.setDefaultTimeout(PATIENCE);
	await page.goto(world.nijimi('web').trim());
	await page.waitForFunction(() => document.body.dataset.ready, null, { timeout: PATIENCE });
	await arranged();
}

const pickVm = async (name) => {
	await page.locator(`#vms button[data-vm="${name}"]`).click();
	await page.waitForFunction((vm) => document.body.dataset.ready === vm, name);
	await arranged();
};

// The place of a server, as a client that is no browser sees it.
function request(options, body) {
	const url = new URL(JSON.parse(world.nijimi('web', '--json')).url);
	return new Promise((resolve, reject) => {
		const sent = http.request({ host: '127.0.0.1', port: url.port, method: 'GET', ...options }, (answer) => {
			let data = '';
			answer.on('data', (part) => { data += part; });
			answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, data }));
		});
		sent.on('error', reject);
		sent.end(body);
	});
}

const token = () => JSON.parse(world.nijimi('web', '--json')).token;
const bearer = (key = token()) => ({ Authorization: `Bearer ${key}` });
const VMS = '{"command":"vms"}';
const api = (body, headers = {}) => request({ path: '/api', method: 'POST', headers: { ...bearer(), ...headers } }, body);

// Names that would be markup, commands to a terminal, a change of direction, no text, no end.
const HOSTILE = [
	'/srv/<img%20src=x%20onerror=document.title=1>',
	'/srv/"><script>document.title=2</script>',
	'/srv/%1b]0;title%07%1b[31mred%0a%0dline',
	'/srv/%e2%80%aegnp.exe%e2%81%a6x',
	'/srv/%ff%fe%c0%af.bin',
	`/srv/${'long-'.repeat(700)}end`,
	'/srv/機密%20書類.txt',
	'/srv/%e2%80%8b%cc%81%cc%81%cc%81',
	'/srv/javascript:document.title=3',
];

const CASES = {
	'a key is wanted, and the right one': async () => {
		const { url } = JSON.parse(world.nijimi('web', '--json'));
		const fresh = await world.browse(modules);
		await fresh.goto(url);
		await fresh.locator('#locked').waitFor();
		assert.equal(await fresh.locator('#app').isVisible(), false);
		assert.equal(await fresh.locator('#locked-why').isVisible(), false);
		await fresh.fill('#token', 'f'.repeat(64));
		await fresh.click('#unlock button');
		await fresh.locator('#locked-why').waitFor();
		assert.equal(await fresh.locator('#app').isVisible(), false);
		await fresh.fill('#token', token());
		await fresh.click('#unlock button');
		await fresh.locator('#app').waitFor();
		assert.equal((await fresh.context().cookies()).length, 0);
		assert.ok(!fresh.url().includes(token()));
		await fresh.context().close();
	},

	'what is asked without the key, by other sites, or to change something, is refused': async () => {
		const port = new URL(JSON.parse(world.nijimi('web', '--json')).url).port, good = token();
		const bad = [...good];
		bad[63] = bad[63] === '0' ? '1' : '0';
		const rows = [
			[200, { path: '/api', method: 'POST', headers: bearer() }, VMS],
			[200, { path: '/api', method: 'POST', headers: { ...bearer(), Host: `localhost:${port}`, Origin: `http://localhost:${port}` } }, VMS],
			[401, { path: '/api', method: 'POST' }, VMS],
			[401, { path: '/api', method: 'POST', headers: bearer(bad.join('')) }, VMS],
			[401, { path: '/api', method: 'POST', headers: bearer('') }, VMS],
			[401, { path: '/api', method: 'POST', headers: bearer(`${good}0`) }, VMS],
			[401, { path: '/api', method: 'POST', headers: { Cookie: `token=${good}`, Authorization: good } }, VMS],
			[401, { path: `/api?token=${good}`, method: 'POST' }, VMS],
			[401, { path: '/events' }],
			[403, { path: '/', headers: { Host: `evil.example:${port}` } }],
			[403, { path: '/', headers: { Host: '127.0.0.1:1' } }],
			[403, { path: '/api', method: 'POST', headers: { ...bearer(), Host: `127.0.0.1.evil.example:${port}` } }, VMS],
			[403, { path: '/api', method: 'POST', headers: { ...bearer(), Origin: 'http://evil.example' } }, VMS],
			[403, { path: '/api', method: 'POST', headers: { ...bearer(), Origin: 'null' } }, VMS],
			[403, { path: '/api', method: 'POST', headers: { ...bearer(), 'Sec-Fetch-Site': 'cross-site' } }, VMS],
			[403, { path: '/events', headers: { ...bearer(), 'Sec-Fetch-Site': 'same-site' } }],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"reload"}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"web"}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"policy"}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"export","vm":"accounting"}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"import","replace":true}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"mark","vm":"accounting","target":"/x","label":"classified"}'],
			[403, { path: '/api', method: 'POST', headers: bearer() }, '{"command":"clear","vm":"accounting","target":"#1"}'],
			[404, { path: '/etc/passwd' }],
			[404, { path: '/../../etc/passwd' }],
			[405, { path: '/', method: 'POST' }, 'x'],
			[405, { path: '/api', headers: bearer() }],
			[405, { path: '/events', method: 'POST', headers: bearer() }, 'x'],
		];
		for (const [status, options, body] of rows) {
			const answer = await request(options, body);
			assert.equal(answer.status, status, JSON.stringify([options, body, answer.data]));
			assert.ok(answer.headers['content-security-policy'].includes("default-src 'none'"));
			assert.equal(answer.headers['x-content-type-options'], 'nosniff');
			assert.equal(answer.headers['access-control-allow-origin'], undefined);
		}
		assert.equal(JSON.parse((await api('{')).data).ok, false);
		assert.equal(JSON.parse((await api(`{"command":"vms","run":"${'x'.repeat(20000)}"}`)).data).ok, false);
		assert.ok(!world.log.includes(good), 'the key is in the log');
	},

	'what there is is shown at once': async () => {
		await open();
		assert.deepEqual(await page.locator('.tiles b').allInnerTexts(), ['6', '4', '2', '3', '1', '0']);
		assert.equal(await page.locator('#vms button').count(), 2);
		assert.match(await text('#vms button[data-vm=accounting]'), /traced/);
		assert.match(await text('#details'), /salaries-2026\.xlsx/);
		assert.equal(await page.locator('#empty').isVisible(), false);
	},

	'it grows while one looks on': async () => {
		const before = await number('.tiles div:nth-child(1) b');
		await agent.say(['file 50 ext4 /home/sato/grown.txt', 'edge 10 50 2 write']);
		await waitText('#newest', 'grown.txt');
		assert.equal(await number('.tiles div:nth-child(1) b'), before + 1);
		await agent.say(['end 50']);
		await page.waitForFunction((count) => document.querySelector('.tiles b').textContent === String(count), before);
		await waitText('#connection', 'live');
	},

	'bytes of a step, and more of them': async () => {
		await agent.say(['file 51 ext4 /home/sato/sized.txt', 'edge 10 51 2 write 512']);
		await waitText('#newest', 'sized.txt');
		await page.keyboard.press('/');
		await page.keyboard.type('sized.txt');
		await waitText('#found', 'sized.txt');
		await page.keyboard.press('Enter');
		await waitText('#details h3', 'sized.txt');
		const bytes = () => page.locator('#details .path .bytes').allInnerTexts();
		assert.equal((await bytes()).at(-1), '512 B');
		assert.equal((await bytes())[0], '–');
		await agent.say(['moved 3584']);
		await page.waitForFunction(() => [...document.querySelectorAll('#details .path .bytes')].at(-1)?.textContent === '3.5 KiB');
		await agent.say(['end 51']);
		await page.keyboard.press('Escape');
		await page.keyboard.press('Escape');
	},

	'search, a click, the path from the origin': async () => {
		await page.keyboard.press('/');
		await page.keyboard.type('backup.tar');
		await waitText('#found', 'backup.tar.gz');
		await page.keyboard.press('Enter');
		await waitText('#details h3', 'backup.tar.gz');
		assert.deepEqual(await page.locator('#details .path button').allInnerTexts(), ['salaries-2026.xlsx', 'python3.11 [4101]', 'summary.csv', 'tar [4188]', 'backup.tar.gz']);
		await page.fill('#search', 'no such thing');
		await waitText('#found', 'Nothing');
		await page.keyboard.press('Escape');
		await page.click('#details .path button:has-text("summary.csv")');
		await waitText('#details h3', 'summary.csv');
		// On the canvas itself: somewhere there is a card that opens its details.
		await page.keyboard.press('Escape');
		await page.click('#zoom-fit');
		const box = await page.locator('#graph').boundingBox();
		let found = false;
		for (let y = 40; y < box.height - 40 && !found; y += 12) {
			await page.mouse.move(box.x + box.width * 0.66, box.y + y);
			found = await page.locator('#graph').evaluate((element) => element.style.cursor === 'pointer');
			if (found)
				await page.mouse.click(box.x + box.width * 0.66, box.y + y);
		}
		assert.ok(found, 'no card under the mouse');
		await page.locator('#details dl').waitFor();
	},

	'filters': async () => {
		await page.keyboard.press('Escape');
		await agent.say(['name 3 extra', 'file 60 ext4 /srv/extra/one.txt', 'edge 0 60 8 classified', 'process 61 900 /usr/bin/less', 'edge 60 61 8 read']);
		await page.locator('#label option[value=extra]').waitFor({ state: 'attached' });
		await page.selectOption('#label', 'extra');
		await page.waitForFunction(() => document.body.dataset.arranged === '2');
		await page.selectOption('#label', '');
		await page.waitForFunction(() => Number(document.body.dataset.arranged) > 10);
		await page.selectOption('#period', '300');
		await page.click('#tab-list');
		assert.ok(!(await text('#list')).includes('salaries'));
		assert.ok((await text('#list')).includes('summary.csv'));
		assert.ok((await text('#list')).includes('grown.txt'));
		await page.click('#tab-graph');
		await page.selectOption('#period', '');
		await page.uncheck('#ended');
		await page.click('#tab-list');
		// What has ended and leads to nothing that lives; but not what is on the way to something.
		assert.ok(!(await text('#list')).includes('grown.txt'));
		assert.ok((await text('#list')).includes('tar [4188]'));
		await page.click('#tab-graph');
		await page.check('#ended');
		await page.selectOption('#grouping', 'grouped');
		await arranged();
		await page.selectOption('#grouping', 'auto');
	},

	'replay': async () => {
		await page.locator('#time').focus();
		await page.keyboard.press('Home');
		assert.equal(await page.locator('#live').getAttribute('aria-pressed'), 'false');
		for (let i = 0; i < 3; i++)
			await page.keyboard.press('ArrowRight');
		assert.match(await text('#moment'), /^step 3 of \d+/);
		// What came later is not shown yet: the same places are empty, or pale.
		const early = await page.locator('#graph').screenshot();
		await page.keyboard.press('End');
		await page.waitForTimeout(200);
		assert.notDeepEqual(early, await page.locator('#graph').screenshot());
		await page.keyboard.press('Home');
		await page.click('#play');
		await waitText('#play', 'Stop');
		await page.waitForFunction(() => Number(document.querySelector('#time').value) >= 4);
		await waitText('#play', 'Replay');
		assert.equal(await page.locator('#time').inputValue(), await page.locator('#time').getAttribute('max'));
		await page.click('#live');
		assert.equal(await page.locator('#live').getAttribute('aria-pressed'), 'true');
	},

	'alerts, and their path in the graph': async () => {
		const before = await number('#alert-count');
		await agent.say(['endpoint 70 2 1 198.51.100.99:443 4302 /usr/sbin/nginx', 'edge 14 70 2 sendfile']);
		await page.waitForFunction((count) => Number(document.querySelector('#alert-count').textContent) === count, before + 1);
		await waitText('#said', 'payroll');
		await page.click('#tab-alerts');
		const card = page.locator('.alert-card').first();
		assert.match(await card.innerText(), /payroll from \/srv\/payroll\/salaries-2026\.xlsx was brought to 198\.51\.100\.99:443/);
		assert.match(await card.locator('.path').innerText(), /python3\.11/);
		await card.locator('button').click();
		await waitText('#details h3', '198.51.100.99:443');
		assert.equal(await page.locator('#panel-graph').isVisible(), true);
		assert.match(await text('#details dl'), /alert/);
	},

	'labels and VMs': async () => {
		await page.click('#tab-matrix');
		await waitText('#matrix', 'payroll');
		await page.locator('#matrix tbody tr', { hasText: 'plans' }).locator('button:enabled').click();
		await page.waitForFunction(() => document.body.dataset.ready === 'build-server');
		assert.equal(await page.locator('#label').inputValue(), 'plans');
		await waitText('#details h3', 'build-server');
		await pickVm('accounting');
		await page.selectOption('#label', '');
	},

	'the keyboard alone': async () => {
		await open();
		await page.keyboard.press('Tab');
		for (let i = 0; i < 30 && !(await page.locator('#graph').evaluate((element) => element === document.activeElement)); i++)
			await page.keyboard.press('Tab');
		await page.keyboard.press('ArrowDown');
		await waitText('#details h3', 'salaries-2026.xlsx');
		// Forward is down where the layers lie below each other, else to the right.
		await page.keyboard.press('ArrowDown');
		if ((await text('#details h3')).startsWith('salaries'))
			await page.keyboard.press('ArrowRight');
		await waitText('#details h3', 'python3.11');
		await waitText('#said', 'python3.11 [4101], process');
		await page.keyboard.press('Enter');
		assert.equal(await page.evaluate(() => document.activeElement.id), 'details');
		await page.keyboard.press('Escape');
		await waitText('#details h3', 'accounting');
		await page.keyboard.press('?');
		await page.locator('dialog[open]').waitFor();
		await page.keyboard.press('Escape');
		await page.keyboard.press('2');
		assert.equal(await page.locator('#panel-alerts').isVisible(), true);
		await page.keyboard.press('ArrowRight');
		await page.keyboard.press('ArrowRight');
		assert.equal(await page.locator('#panel-list').isVisible(), true);
		await page.keyboard.press('1');
		// Everything that can be used has a name.
		const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input, select, canvas[tabindex], [role=tabpanel], nav, aside')]
			.filter((element) => !(element.getAttribute('aria-label') || element.getAttribute('aria-labelledby') || element.textContent.trim() || element.closest('label')?.textContent.trim() || document.querySelector(`label[for="${element.id}"]`)))
			.map((element) => element.outerHTML));
		assert.deepEqual(nameless, []);
	},

	'in Japanese, and in the dark': async () => {
		await open({ locale: 'ja-JP', colorScheme: 'dark' });
		assert.equal(await page.evaluate(() => document.documentElement.lang), 'ja');
		await waitText('#tabs', '拡散');
		await waitText('#details', '現在の所在');
		const shade = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
		const dark = await shade();
		await page.click('#theme');
		assert.notEqual(await shade(), dark);
		await page.click('#language');
		await waitText('#tabs', 'Spread');
		assert.equal(await page.evaluate(() => document.documentElement.lang), 'en');
		await page.reload();
		await waitText('#tabs', 'Spread');
		assert.notEqual(await shade(), dark);
		// No sentence is left out in either.
		const missing = await page.evaluate(() => [...document.querySelectorAll('[data-t]')].filter((element) => /^[a-z]+\.[a-z]/.test(element.textContent)).map((element) => element.dataset.t));
		assert.deepEqual(missing, []);
	},

	'hostile names': async () => {
		const hostile = await world.agent('hostile');
		await hostile.say(HOSTILE.flatMap((name, i) => [`file ${i + 1} ext4 ${name}`, `edge 0 ${i + 1} 1 classified`, `process ${100 + i} ${i + 1} /x/${i % 2 ? '<b>%ffx' : '%1b[2J</title>'}`, `edge ${i + 1} ${100 + i} 1 read`]));
		await open();
		await pickVm('hostile');
		await page.keyboard.press('4');
		await page.waitForFunction((rows) => document.querySelectorAll('#list tbody tr').length === rows, 2 * HOSTILE.length);
		for (const button of await page.locator('#list tbody button').all()) {
			await button.click();
			await page.locator('#details dl').waitFor();
		}
		for (const key of ['1', '2', '3', '1'])
			await page.keyboard.press(key);
		await page.selectOption('#grouping', 'grouped');
		await page.fill('#search', 'srv');
		assert.match(await page.title(), /^nijimi$/);
		assert.equal(await page.locator('img:not([src="/icon.svg"]), #list script, #list b, #details script').count(), 0);
		// No control character, nothing that turns text around, nothing that is no text.
		const unsafe = await page.evaluate(() => {
			const all = document.body.textContent + [...document.querySelectorAll('*')].flatMap((element) => [...element.attributes].map((attribute) => attribute.value)).join('');
			return [...all.matchAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufffd]/g)].map((match) => match[0].codePointAt(0).toString(16));
		});
		assert.deepEqual(unsafe, []);
		assert.ok((await page.locator('#list').textContent()).includes('機密 書類.txt'));
		assert.ok((await page.locator('#list').textContent()).includes('\\xff\\xfe\\xc0\\xaf.bin'));
		// A long one does not tear the page.
		assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector('#details').scrollWidth <= document.querySelector('#details').clientWidth), true);
		await page.fill('#search', '');
	},

	'a trace that was recorded from a real guest': async () => {
		const trace = recorded(), real = await world.agent('recorded');
		await real.say(trace.lines);
		await open();
		await pickVm('recorded');
		await page.keyboard.press('4');
		const rows = await page.locator('#list tbody tr').count();
		assert.equal(rows, trace.objects);
		for (const name of trace.names)
			assert.ok((await page.locator('#list').textContent()).includes(name), name);
		await page.keyboard.press('1');
		// Each of its objects has a path from where something was classified.
		await page.fill('#search', trace.farthest);
		await page.keyboard.press('Enter');
		assert.equal(await page.locator('#details .warning').count(), 0);
		assert.ok(await page.locator('#details .path li').count() > 3);
	},

	'events go on where they were': async () => {
		await open();
		await pickVm('accounting');
		const edges = await page.locator('#time').getAttribute('max');
		await world.stop();
		await waitText('#connection', 'no connection');
		await world.start(world.options);
		await waitText('#connection', 'live');
		await agent.say(['again', 'file 90 ext4 /home/sato/after.txt', 'edge 10 90 2 write']);
		await waitText('#newest', 'after.txt');
		await page.waitForFunction((count) => Number(document.querySelector('#time').max) === count, Number(edges) + 1);
		// As a reader that names the last event it has: it gets what came since, and nothing twice.
		const { url } = JSON.parse(world.nijimi('web', '--json'));
		const read = async (headers, wanted) => {
			const stop = new AbortController(), answer = await fetch(`${url}events?vm=accounting&event=1`, { headers: { ...bearer(), ...headers }, signal: stop.signal });
			let seen = '';
			for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
				seen += part;
				if (wanted.test(seen))
					break;
			}
			stop.abort();
			return seen;
		};
		const first = await read({}, /event: edges\ndata: .*\n\n/);
		const id = /id: (\S+)\nevent: edges/.exec(first)[1];
		assert.ok(first.includes('after.txt'));
		await agent.say(['file 91 ext4 /home/sato/later.txt', 'edge 10 91 2 write']);
		const next = await read({ 'Last-Event-ID': id }, /event: edges\ndata: .*\n\n/);
		assert.ok(next.includes('later.txt') && !next.includes('after.txt'), next);
		assert.match(await read({ 'Last-Event-ID': '1.2.3.4' }, /event: vms/), /event: reset/);
	},

	'a reader who does not take anything holds nobody up': async () => {
		const { url } = JSON.parse(world.nijimi('web', '--json'));
		const silent = await Promise.all(Array.from({ length: 20 }, () => new Promise((resolve) => {
			const sent = http.request(`${url}events?vm=accounting&event=1`, { headers: bearer() }, (answer) => { answer.pause(); resolve(sent); });
			sent.end();
		})));
		const busy = await world.agent('busy');
		for (let i = 0; i < 20; i++)
			await busy.say(Array.from({ length: 100 }, (_, j) => [`file ${1 + i * 100 + j} ext4 /data/${'x'.repeat(400)}${j}`, `edge 0 ${1 + i * 100 + j} 1 classified`]).flat());
		const began = Date.now();
		assert.equal((await api(VMS)).status, 200);
		assert.ok(Date.now() - began < 5000);
		assert.ok(JSON.parse(world.nijimi('status', '--json')).daemon.memory_bytes < 400e6);
		for (const each of silent)
			each.destroy();
		busy.end();
	},

	'TLS': async () => {
		const certificate = path.join(world.directory, 'web.pem'), key = path.join(world.directory, 'web.key');
		execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=nijimi.test', '-addext', 'subjectAltName=DNS:nijimi.test,IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
		const second = new World(build);
		try {
			await second.start(['--web', '127.0.0.1:0', '--web-certificate', certificate, '--web-key', key, '--web-name', 'nijimi.test']);
			const { url, token: secret } = JSON.parse(second.nijimi('web', '--json'));
			assert.match(url, /^https:\/\/nijimi\.test:\d+\/$/);
			const port = new URL(url).port;
			const ask = (options, body) => new Promise((resolve, reject) => {
				const sent = https.request({ host: '127.0.0.1', port, path: '/api', method: 'POST', servername: 'nijimi.test', ca: readFileSync(certificate), ...options, headers: { Host: `nijimi.test:${port}`, ...options.headers } }, (answer) => { answer.resume(); resolve(answer.statusCode); });
				sent.on('error', reject);
				sent.end(body);
			});
			assert.equal(await ask({ headers: bearer(secret) }, VMS), 200);
			assert.equal(await ask({ headers: { ...bearer(secret), Origin: `https://nijimi.test:${port}` } }, VMS), 200);
			assert.equal(await ask({ headers: { ...bearer(secret), Origin: `http://nijimi.test:${port}` } }, VMS), 403);
			assert.equal(await ask({ headers: bearer(secret), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }, VMS), 200);
			assert.equal(await ask({}, VMS), 401);
			await assert.rejects(ask({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }, VMS));
			await assert.rejects(request({ port, path: '/' })); // without TLS
			const secure = await second.browse(modules, { ignoreHTTPSErrors: true });
			await secure.goto(`https://127.0.0.1:${port}/#token=${secret}`);
			await secure.locator('#vms').waitFor();
			await secure.waitForFunction(() => document.querySelector('#connection').className === 'live');
			await second.browser.close();
			second.browser = null;
			assert.equal(await second.stop(), 0);
		} finally {
			await second.destroy();
		}
		const third = new World(build);
		await assert.rejects(third.start(['--web', '127.0.0.1:0', '--web-certificate', certificate, '--web-key', certificate]), /certificate/);
		await assert.rejects(third.start(['--web', '0.0.0.0:0']), /--web-certificate/);
		third.daemon = null;
		await third.destroy();
	},

	'10,000 objects': async () => {
		const { fill } = await import('./many.mjs');
		await fill(await world.agent('many'), 10000);
		await open();
		await pickVm('many');
		assert.equal(await number('.tiles div:nth-child(1) b') + await number('.tiles div:nth-child(2) b') + await number('.tiles div:nth-child(3) b'), 10000);
		const grouped = Number(await page.evaluate(() => document.body.dataset.arranged));
		assert.ok(grouped > 1 && grouped <= 120, `${grouped} groups`);
		await page.selectOption('#grouping', 'each');
		// While it is being arranged the page answers.
		await page.keyboard.press('3');
		assert.equal(await page.locator('#panel-matrix').isVisible(), true);
		await page.keyboard.press('1');
		await page.waitForFunction(() => document.body.dataset.arranged === '10000', null, { timeout: 4 * PATIENCE });
		await page.fill('#search', 'file-9001.dat');
		await page.keyboard.press('Enter');
		await waitText('#details h3', 'file-9001.dat');
	},
};

// -----------------------------------------------------------------------------------------------

let failures = 0, done = 0;
try {
	world.options = ['--web', '0', '--policy', world.policy(POLICY)];
	await world.start(world.options);
	// The port stays the same when the daemon starts again, or the page would be another.
	world.options[1] = new URL(JSON.parse(world.nijimi('web', '--json')).url).port;
	agent = await world.agent('accounting');
	await agent.say([...STORY, 'endpoint 40 2 1 198.51.100.23:22 4231 /usr/bin/ssh', 'edge 13 40 2 sendto']);
	const other = await world.agent('build-server');
	await other.say(['name 2 plans', 'file 1 ext4 /srv/plans/roadmap.md', 'edge 0 1 4 classified', 'process 2 77 /usr/bin/git', 'edge 1 2 4 read']);
	for (const [title, run] of Object.entries(CASES)) {
		if (!title.match(pattern))
			continue;
		const began = Date.now();
		try {
			if (!page && pattern)
				await open();
			await run();
			// A page of ours gives the browser nothing to complain of; a refusal of the key is one.
			const problems = (page?.problems ?? []).filter((problem) => !/401|ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE|ERR_EMPTY/.test(problem));
			assert.deepEqual(problems, []);
			console.log(`ok      ${title} (${Date.now() - began} ms)`);
		} catch (error) {
			failures++;
			console.log(`FAILED  ${title}: ${error.stack}`);
			await page?.screenshot({ path: path.join(build, 'web-failed.png') }).catch(() => {});
		}
		done++;
	}
	const foreign = world.requests.filter((url) => !['127.0.0.1', 'localhost'].includes(new URL(url).hostname));
	assert.deepEqual(foreign, [], 'requests that leave the machine');
	assert.ok(world.requests.length > 0 && !world.requests.some((url) => url.includes(token())), 'the key is in an address');
	await world.browser.close();
	world.browser = null;
	assert.equal(await world.stop(), 0, `nijimid: ${world.log}`);
} catch (error) {
	failures++;
	console.log(`FAILED  ${error.stack}`);
} finally {
	await world.destroy();
}
process.exit(failures || !done ? 1 : 0);
