// SPDX-License-Identifier: GPL-2.0-or-later
// Many objects, as a build or a backup makes them: some origins, programs that read from what there is, and files in folders.

export async function fill(agent, count) {
	const lines = [], piece = 500;
	let random = 1;
	const pick = (limit) => { random = (random * 1103515245 + 12345) % 2147483648; return random % limit; };
	for (let i = 1; i <= count; i++) {
		if (i <= 20) {
			lines.push(`file ${i} ext4 /srv/plans/set-${i}/file-${i}.dat`, `edge 0 ${i} 1 classified`);
		} else if (i % 5 === 0) {
			lines.push(`process ${i} ${i} /usr/bin/tool-${pick(40)}`, `edge ${1 + pick(i - 1)} ${i} 1 read`);
		} else if (i % 97 === 0) {
			lines.push(`inet ${i} 1 10.0.0.2:${1024 + i} 10.0.${pick(4)}.${pick(200)}:443`, `edge ${i - (i % 5) || 1} ${i} 1 sendto`);
		} else {
			lines.push(`file ${i} ext4 /data/project-${pick(60)}/part-${pick(30)}/file-${i}.dat`, `edge ${i - (i % 5)} ${i} 1 write`);
		}
	}
	for (let i = 0; i < lines.length; i += piece)
		await agent.say(lines.slice(i, i + piece));
}
