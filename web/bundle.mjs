// SPDX-License-Identifier: GPL-2.0-or-later
// bundle.mjs SOURCE FOLDER OUTPUT: see web/bundle.
import { createRequire } from 'node:module';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const [source, folder, output] = process.argv.slice(2);
const esbuild = createRequire(path.join(folder, 'package.json'))('esbuild');

// Of the files in web/: where the server has them.
const assets = [
	{ url: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
	{ url: '/style.css', file: 'style.css', type: 'text/css; charset=utf-8' },
	{ url: '/icon.svg', file: 'icon.svg', type: 'image/svg+xml' },
	{ url: '/licenses.txt', text: licenses, type: 'text/plain; charset=utf-8' },
	{ url: '/app.js', script: 'src/app.js', type: 'text/javascript; charset=utf-8' },
	{ url: '/worker.js', script: 'src/worker.js', type: 'text/javascript; charset=utf-8' },
];

async function bundle(entry) {
	const result = await esbuild.build({
		entryPoints: [path.join(source, entry)],
		absWorkingDir: source,
		nodePaths: [path.join(folder, 'node_modules')],
		bundle: true,
		minify: true,
		write: false,
		format: 'iife',
		target: 'es2020',
		charset: 'utf8',
		legalComments: 'inline',
		logLevel: 'warning',
	});
	if (result.warnings.length)
		throw new Error('there are warnings');
	return Buffer.from(result.outputFiles[0].contents);
}

// Of the libraries that are in the bundle, as their licences ask for.
function licenses() {
	const packages = JSON.parse(readFileSync(path.join(source, 'package-lock.json'))).packages;
	return Object.keys(packages).filter((name) => name && !name.includes('esbuild')).sort().map((name) => {
		const file = readdirSync(path.join(folder, name)).find((each) => /^licen[sc]e/i.test(each));
		return Buffer.from(`${name.replace('node_modules/', '')} ${packages[name].version}\n\n${readFileSync(path.join(folder, name, file), 'utf8')}\n\n`);
	});
}

// A C string literal, a piece a line. Octal escapes end after three digits, whatever comes next.
function literal(bytes) {
	const lines = [];
	for (let at = 0; at < bytes.length; at += 4096) {
		let text = '';
		for (const byte of bytes.subarray(at, at + 4096))
			text += byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c && byte !== 0x3f
				? String.fromCharCode(byte)
				: '\\' + byte.toString(8).padStart(3, '0');
		lines.push(`"${text}"`);
	}
	return lines.join('\n');
}

const rows = [];
for (const { url, file, script, text, type } of assets) {
	const bytes = script ? await bundle(script) : text ? Buffer.concat(text()) : readFileSync(path.join(source, file));
	rows.push(`{"${url}", "${type}",\n${literal(bytes)}, ${bytes.length}},\n`);
}
writeFileSync(output, `/* Made by web/bundle. */
#include "daemon/web_assets.h"

const struct web_asset web_assets[] = {
${rows.join('')}};

const size_t web_assets_count = sizeof(web_assets) / sizeof(web_assets[0]);
`);
