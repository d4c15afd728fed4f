// SPDX-License-Identifier: GPL-2.0-or-later
// What the page says, in English and Japanese: a row a sentence.

const TEXT = {
	'locked.text': ['This page shows where classified information is, so it wants a key. On the host, as root, as the user of the daemon or as a member of the group nijimi, run this, and open what it prints:', 'このページは機密情報の所在を表示するため、鍵が必要です。ホスト上で root、デーモンのユーザ、またはグループ nijimi のメンバとして次を実行し、表示された URL を開いてください。'],
	'locked.label': ['Or paste it here', 'または、ここに貼り付けてください'],
	'locked.open': ['Open', '開く'],
	'locked.wrong': ['This key is not, or no longer, the right one.', 'この鍵は正しくないか、無効になりました。'],
	'search.hint': ['Search files, processes, addresses  ( / )', 'ファイル、プロセス、アドレスを検索 ( / )'],
	'search.label': ['Search in this VM', 'この VM の中を検索'],
	'search.found': ['What was found', '検索結果'],
	'search.none': ['Nothing holds that name', '該当するものはありません'],
	'search.more': ['and {n} more', '他 {n} 件'],
	'language.switch': ['日本語で表示', 'Show in English'],
	'language.short': ['日本語', 'English'],
	'theme.dark': ['Dark', '暗い配色'],
	'theme.light': ['Light', '明るい配色'],
	'help.open': ['Keyboard help', 'キー操作の説明'],
	'help.title': ['Keyboard', 'キー操作'],
	'help.licenses': ['Licences of the libraries on this page', 'このページに含まれるライブラリのライセンス'],
	'help.close': ['Close', '閉じる'],
	'key.search': ['search', '検索'],
	'key.follow': ['follow the spread forward, back; to a neighbour', '拡散の先へ・元へ移動、隣へ移動'],
	'key.details': ['to the details', '詳細へ'],
	'key.clear': ['clear the selection', '選択を解除'],
	'key.zoom': ['zoom; see all', '拡大・縮小、全体を表示'],
	'key.play': ['replay, or stop', '再生・停止'],
	'key.tabs': ['to a tab', 'タブを切り替え'],
	'connection.live': ['live', '接続中'],
	'connection.lost': ['no connection to the daemon: trying again', 'デーモンに接続できません。再試行しています'],
	'connection.wait': ['connecting', '接続しています'],
	'vms.title': ['Virtual machines', '監視対象 VM'],
	'vms.none': ['No VM is monitored. Start one with `nijimi run`.', '監視対象の VM はありません。`nijimi run` で起動してください。'],
	'vms.numbers': ['{files} files, {processes} processes, {sockets} sockets hold classified information', '機密情報を保持: ファイル {files}、プロセス {processes}、ソケット {sockets}'],
	'vms.alerts': ['{n} alerts', '警告 {n} 件'],
	'state.armed': ['traced', '追跡中'], 'state.arming': ['starting', '準備中'], 'state.waiting': ['waiting', '待機中'],
	'state.untraced': ['not traced', '追跡不可'], 'state.lost': ['lost', '切断'], 'state.gone': ['ended', '終了'],
	'tabs.label': ['Views', '表示'],
	'tab.graph': ['Spread', '拡散'], 'tab.alerts': ['Alerts', '警告'], 'tab.matrix': ['Labels × VMs', 'ラベル × VM'], 'tab.list': ['List', '一覧'],
	'filters.label': ['What is shown', '表示の条件'],
	'filter.label': ['Label', 'ラベル'], 'filter.time': ['Time', '時間'], 'filter.group': ['Show', '粒度'], 'filter.ended': ['ended', '終了分'],
	'label.all': ['all', 'すべて'],
	'time.all': ['all', 'すべて'], 'time.5m': ['last 5 minutes', '直近 5 分'], 'time.1h': ['last hour', '直近 1 時間'], 'time.1d': ['last day', '直近 1 日'], 'time.between': ['between', '期間を指定'],
	'time.from': ['from', '開始'], 'time.to': ['to', '終了'],
	'group.auto': ['auto', '自動'], 'group.each': ['every object', '個別'], 'group.grouped': ['in groups', 'グループ'],
	'zoom.in': ['Zoom in', '拡大'], 'zoom.out': ['Zoom out', '縮小'], 'zoom.fit': ['See all', '全体'],
	'graph.label': ['Graph of how classified information spread. Arrow keys follow it, Enter goes to the details.', '機密情報の拡散グラフ。矢印キーでたどり、Enter で詳細へ移動します。'],
	'graph.empty': ['Nothing in this VM holds classified information.', 'この VM に機密情報を保持するものはありません。'],
	'graph.filtered': ['Nothing fits the filters.', '条件に合うものはありません。'],
	'graph.choose': ['Choose a virtual machine.', 'VM を選んでください。'],
	'graph.layout': ['arranging {n} objects …', '{n} 個を配置しています…'],
	'graph.loading': ['reading: {n} steps …', '読み込み中: {n} 段階…'],
	'graph.cut': ['the newest {n} steps are shown', '最新の {n} 段階を表示しています'],
	'legend.label': ['Legend', '凡例'],
	'standing.origin': ['classified origin', '機密の起点'], 'standing.holds': ['holds it now', '現在保持'], 'standing.outside': ['out of the VM: at risk', 'VM の外へ（危険）'], 'standing.alert': ['alert', '警告'], 'standing.ended': ['has ended', '終了'],
	'replay.label': ['Replay', '再生'], 'replay.play': ['▶ Replay', '▶ 再生'], 'replay.stop': ['■ Stop', '■ 停止'], 'replay.slider': ['Time: how far it had spread', '時刻: どこまで広がっていたか'],
	'replay.live': ['Live', 'ライブ'], 'replay.step': ['step {at} of {n}', '{at} / {n} 段階'],
	'details.label': ['Details', '詳細'], 'details.close': ['Close', '閉じる'],
	'glance.now': ['Where it is now', '現在の所在'], 'glance.origins': ['Where it came from', '起点'], 'glance.risk': ['At risk: what left the VM', '危険: VM の外へ出たもの'],
	'glance.newest': ['Newest steps', '最新の拡散'], 'glance.files': ['files', 'ファイル'], 'glance.processes': ['processes', 'プロセス'], 'glance.sockets': ['sockets', 'ソケット'],
	'glance.outside': ['ways out', '外部への経路'], 'glance.alerts': ['alerts', '警告'], 'glance.gaps': ['gaps', '欠落'], 'glance.none': ['nothing', 'なし'],
	'glance.reason': ['Why it is not traced', '追跡できない理由'], 'glance.more': ['and {n} more', '他 {n} 件'],
	'glance.gap-note': ['{n} times something could not be followed: `nijimi state {vm}` tells what.', '追跡できなかった事象が {n} 回あります。`nijimi state {vm}` で確認できます。'],
	'kind.file': ['file', 'ファイル'], 'kind.process': ['process', 'プロセス'], 'kind.socket': ['socket', 'ソケット'], 'kind.endpoint': ['destination', '送信先'], 'kind.unknown': ['unknown object', '不明'],
	'kind.many': ['{n} × {kind}', '{kind} {n} 個'],
	'field.path': ['Path', 'パス'], 'field.exe': ['Program', 'プログラム'], 'field.pid': ['Process', 'プロセス番号'], 'field.uid': ['User', 'ユーザ'], 'field.labels': ['Labels', 'ラベル'], 'field.standing': ['State', '状態'],
	'field.ended': ['Ended', '終了時刻'], 'field.filesystem': ['File system', 'ファイルシステム'], 'field.inode': ['Inode', 'inode'], 'field.device': ['Device', 'デバイス'], 'field.local': ['Local', 'ローカル'], 'field.peer': ['Peer', '相手'],
	'field.family': ['Family', '種別'], 'field.host_path': ['Path in the VM', 'VM でのパス'], 'field.inner_pid': ['In its container', 'コンテナ内の番号'], 'field.first': ['Since', '取得時刻'],
	'path.title': ['How it got there', '到達した経路'], 'path.classified': ['was classified here', 'ここで機密に指定'], 'path.incomplete': ['The beginning is not known: older steps are not kept, or not loaded.', '経路の始まりは不明です。古い段階は保存されていないか、読み込まれていません。'],
	'path.bytes': ['Bytes that this call has moved between the two, as far as its end was seen; – : not known', 'このシステムコールで両者間を移動したバイト数（終了を観測できた分）。– は不明'],
	'path.of': ['label {label}', 'ラベル {label}'],
	'onward.title': ['Where it went on to', 'ここから先'], 'members.title': ['What is in the group', 'グループの内容'], 'members.expand': ['Show each of them', '個別に表示'],
	'alerts.none': ['No alert. The policy (nijimi-policy(5)) says what would be one.', '警告はありません。何が警告になるかはポリシーで定めます (nijimi-policy(5))。'],
	'alert.sentence': ['{label} from {origin} was brought to {destination}', '{origin} の {label} が {destination} に渡りました'],
	'alert.blocked': ['{label} from {origin} was kept from {destination}', '{origin} の {label} が {destination} へ渡るのを阻止しました'],
	'alert.by': ['by {process}', '実行: {process}'], 'alert.sink': ['sink {sink}', '出口 {sink}'], 'alert.repeated': ['and {n} times more', '他に {n} 回'],
	'alert.show': ['Show it in the graph', 'グラフに表示'], 'alert.unknown': ['an unknown origin', '不明な起点'], 'alert.path': ['The whole path ({n} steps)', '全経路（{n} 段階）'], 'alert.new': ['New alert: {text}', '新しい警告: {text}'],
	'alert.stopped': ['blocked', '阻止'],
	'matrix.none': ['No label is held by anything.', 'ラベルを保持するものはありません。'], 'matrix.label': ['Label', 'ラベル'], 'matrix.cell': ['{n} objects in {vm} hold {label}', '{vm} で {label} を保持するもの {n} 個'],
	'matrix.kinds': ['{files} files · {processes} proc. · {sockets} sock.', 'ファイル {files}・プロセス {processes}・ソケット {sockets}'],
	'list.kind': ['Kind', '種類'], 'list.name': ['Name', '名前'], 'list.labels': ['Labels', 'ラベル'], 'list.since': ['Since', '取得'], 'list.state': ['State', '状態'], 'list.more': ['{n} more: search, or filter by label or time', '他 {n} 件。検索するか、ラベルや時間で絞り込んでください'],
	'short.origin': ['origin', '起点'], 'short.holds': ['holds it', '保持'], 'short.outside': ['at risk', '危険'], 'short.ended': ['ended', '終了'],
	'said.node': ['{title}, {kind}, {standing}. From {in}, to {out}.', '{title}、{kind}、{standing}。元 {in}、先 {out}。'],
	'failed': ['The daemon does not answer this: {message}', 'デーモンが応答できません: {message}'],
};

const LANGUAGES = ['en', 'ja'];
let language = LANGUAGES.indexOf(localStorage.getItem('nijimi-language') ?? (navigator.language.startsWith('ja') ? 'ja' : 'en'));
if (language < 0)
	language = 0;

export const languageName = () => LANGUAGES[language];

export function switchLanguage() {
	language = 1 - language;
	localStorage.setItem('nijimi-language', LANGUAGES[language]);
}

export function t(key, values = {}) {
	const row = TEXT[key];
	return row ? row[language].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '') : key;
}

// The page's own words.
export function translate(root = document) {
	document.documentElement.lang = LANGUAGES[language];
	for (const element of root.querySelectorAll('[data-t]'))
		element.textContent = t(element.dataset.t);
	for (const element of root.querySelectorAll('[data-t-label]'))
		element.setAttribute('aria-label', t(element.dataset.tLabel));
	for (const element of root.querySelectorAll('[data-t-placeholder]'))
		element.placeholder = t(element.dataset.tPlaceholder);
}

const formats = new Map();

// Of the daemon's times (ISO 8601).
export function formatTime(time, style = 'time') {
	if (!time)
		return '–';
	const key = `${language} ${style}`;
	if (!formats.has(key))
		formats.set(key, new Intl.DateTimeFormat(LANGUAGES[language], {
			...(style === 'time' ? {} : { year: 'numeric', month: '2-digit', day: '2-digit' }), hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false,
		}));
	return formats.get(key).format(typeof time === 'number' ? time : Date.parse(time));
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

// "512 B", "3.5 KiB"; null: not known.
export function formatBytes(bytes) {
	if (!bytes)
		return '–';
	const unit = Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1), value = bytes / 1024 ** unit;
	return `${new Intl.NumberFormat(LANGUAGES[language], { maximumFractionDigits: unit && value < 100 ? 1 : 0 }).format(value)} ${UNITS[unit]}`;
}

export const formatNumber = (number) => new Intl.NumberFormat(LANGUAGES[language]).format(number);
