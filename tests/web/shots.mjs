// SPDX-License-Identifier: GPL-2.0-or-later
// shots.mjs BUILD MODULES FOLDER: pictures of the page, to be looked at (DARK=1, LANGUAGE=ja-JP, MANY=10000).
import { fill } from './many.mjs';
import { POLICY, STORY, World } from './world.mjs';
const [build, modules, out] = process.argv.slice(2);
const world = new World(build);
try {
	const policy = world.policy(POLICY);
	await world.start(['--web', '0', '--policy', policy]);
	const agent = await world.agent('accounting'), other = await world.agent('build-server');
	await agent.say([...STORY, 'endpoint 40 2 1 198.51.100.23:22 4231 /usr/bin/ssh', 'edge 13 40 2 sendto']);
	await other.say(['name 2 plans', 'file 1 ext4 /srv/plans/roadmap.md', 'edge 0 1 4 classified', 'process 2 77 /usr/bin/git', 'edge 1 2 4 read']);
	const page = await world.browse(modules, { colorScheme: process.env.DARK ? 'dark' : 'light', locale: process.env.LANGUAGE ?? 'en-GB' });
	await page.goto(world.nijimi('web').trim());
	await page.waitForFunction(() => document.body.dataset.arranged);
	await page.waitForTimeout(700);
	await page.screenshot({ path: `${out}/1-graph.png` });
	await page.fill('#search', '198.51');
	await page.keyboard.press('Enter');
	await page.waitForTimeout(500);
	await page.screenshot({ path: `${out}/2-node.png` });
	for (const [i, tab] of ['alerts', 'matrix', 'list'].entries()) {
		await page.click(`#tab-${tab}`);
		await page.waitForTimeout(400);
		await page.screenshot({ path: `${out}/${3 + i}-${tab}.png` });
	}
	if (process.env.MANY) {
		await fill(await world.agent('many'), Number(process.env.MANY));
		await page.locator('#vms button[data-vm=many]').click();
		await page.click('#tab-graph');
		await page.waitForFunction(() => document.body.dataset.ready === 'many' && document.body.dataset.arranged, null, { timeout: 100000 });
		await page.waitForTimeout(500);
		await page.screenshot({ path: `${out}/6-grouped.png` });
		await page.selectOption('#grouping', 'each');
		await page.waitForFunction((count) => document.body.dataset.arranged === count, process.env.MANY, { timeout: 300000 });
		await page.waitForTimeout(500);
		await page.screenshot({ path: `${out}/7-each.png` });
	}
	console.log(page.problems, world.requests.length);
} finally {
	await world.destroy();
}
