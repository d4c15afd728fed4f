# shellcheck shell=dash
# What the real programs do with a classified file. A function each, run in an empty folder of its own, /work/NAME, with
# the path of the file in SECRET. It has to succeed. What it starts and leaves running goes on to the end.
#
# name            what it does with the file                                             init
PROGRAMS='
cp                copies, with attributes, onto another file system                      lab
reflink           cp and cp --reflink=always on btrfs                                    lab
mv                renames a copy, moves it to another file system                        lab
cat               joins, and pipes                                                       lab
dd                copies blocks, with a seek, and through a pipe                         lab
tee               to three files at once                                                 lab
tools             sort, grep, sed, awk, head, split, base64, install                     lab
tar               packs and unpacks, also from pipe to pipe                              lab
gzip              compresses and expands                                                 lab
xz                the same with xz, bzip2 and zstd                                       lab
zip               packs and unpacks                                                      lab
rsync             copies, and copies again what has changed                              lab
bash              here-document, here-string, read, and a shell that stays               lab
python            read/write, shutil, mmap, child processes, one that stays              lab
perl              reads lines and writes them, through a pipe from a child               lab
sqlite            a table with the content, WAL, a dump, a copy                          lab
git               add, commit, gc, clone, show                                           lab
vim               writes under another name, and stays                                   lab
socat             over UNIX and TCP sockets, and a pseudo-terminal                       lab
curl              from a file, up to and down from a web server of python                lab
nginx             serves it, with and without sendfile                                   lab
ssh               to and from a command on the other side                                lab
scp               scp and sftp                                                           lab
loop              a copy on ext4 in a file                                               lab
overlay           read through overlayfs, changed, and copied up                         lab
bubblewrap        copies in a container with namespaces of its own                       lab
journald          a line to the journal, and back from it                                systemd
services          two services of systemd copy it, one stays                             systemd
'

# declare_encoded FILE: it holds the content, in a form that the search does not know.
declare_encoded()
{
	stat -c "@ end file %Hd:%Ld %i $PWD/$1 $NAME" "$1" >> /run/declared
}

# until_true COMMAND...: waits for what is started in the background.
until_true()
{
	local tries=100

	until "$@" > /dev/null 2>&1; do
		[ $((tries -= 1)) -gt 0 ] || return 1
		sleep 0.1
	done
}

# daemon COMMAND...: leaves it running.
daemon()
{
	setsid "$@" < /dev/null > daemon.log 2>&1 &
}

program_cp()
{
	cp "$SECRET" copy && cp -a copy attributes && cp --sparse=always copy sparse && cp copy /dev/shm/cp-copy
}

program_reflink()
{
	modprobe loop && truncate -s 200M disk && mkfs.btrfs -q disk && mkdir mnt && mount -o loop disk mnt &&
		cp "$SECRET" mnt/original && cp --reflink=always mnt/original mnt/clone && cp --reflink=never mnt/clone mnt/copy
}

program_mv()
{
	cp "$SECRET" one && mv one two && mkdir folder && mv two folder/three && mv folder other && mv other/three /dev/shm/mv-four
}

program_cat()
{
	cat "$SECRET" "$SECRET" > joined && cat "$SECRET" | cat | cat > piped && cat < piped >> appended
}

program_dd()
{
	dd if="$SECRET" of=copy bs=512 && dd if="$SECRET" of=later bs=1k seek=4 && dd if="$SECRET" bs=100 | dd of=piped bs=7
}

program_tee()
{
	tee one two three < "$SECRET" > /dev/null && tee -a one < "$SECRET" > four
}

program_tools()
{
	sort -R "$SECRET" > sorted && grep marker "$SECRET" > lines && sed 's/^/> /' "$SECRET" > quoted &&
		awk '{ print NR, $0 }' "$SECRET" > numbered && head -n 1 "$SECRET" > first && split -l 20 "$SECRET" part- &&
		install -m 600 "$SECRET" installed && base64 "$SECRET" > encoded && declare_encoded encoded &&
		base64 -d encoded > decoded && wc "$SECRET" > /dev/null && sed -i 's/$/./' installed
}

program_tar()
{
	tar -cf packed.tar -C "${SECRET%/*}" secret && mkdir out piped && tar -xf packed.tar -C out &&
		tar -czf - -C "${SECRET%/*}" secret | tar -xzf - -C piped && tar -cJf packed.tar.xz out && declare_encoded packed.tar.xz
}

program_gzip()
{
	gzip -c "$SECRET" > packed.gz && gunzip -c packed.gz > unpacked && gzip -k unpacked
}

program_xz()
{
	local tool

	for tool in xz bzip2 zstd; do
		$tool -c "$SECRET" > "packed.$tool" && declare_encoded "packed.$tool" && $tool -dc "packed.$tool" > "$tool" || return 1
	done
}

program_zip()
{
	zip -q -j packed.zip "$SECRET" && unzip -q packed.zip -d out && unzip -p packed.zip > piped
}

program_rsync()
{
	rsync -a "${SECRET%/*}/" copy/ && echo more >> copy/secret && cp -a copy again && rsync -a --no-whole-file --checksum "$SECRET" again/
}

program_bash()
{
	bash -c 'read -r line < "$1"; echo "$line" > read; cat <<< "$line" > string; cat << END > document
$line
END
		text=$(< "$1"); echo "${text:0:100}" > substituted' bash "$SECRET" || return 1
	mkfifo wait
	daemon bash -c 'mapfile -t lines < "$1"; touch up; read -r word < wait' bash "$SECRET"
	until_true test -e up
}

program_python()
{
	python3 - "$SECRET" <<- 'END' || return 1
		import mmap, os, shutil, subprocess, sys
		secret = sys.argv[1]
		open("written", "w").write(open(secret).read())
		shutil.copyfile(secret, "copied")
		with open(secret, "rb") as f:
		    view = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
		    open("mapped", "wb").write(view[:])
		    os.sendfile(os.open("sent", os.O_WRONLY | os.O_CREAT), f.fileno(), 0, 1000)
		child = subprocess.run(["tr", "x", "y"], input=open(secret, "rb").read(), stdout=subprocess.PIPE)
		open("child", "wb").write(child.stdout)
		r, w = os.pipe()
		if os.fork() == 0:
		    os.close(w)
		    open("forked", "wb").write(os.read(r, 4096))
		    os._exit(0)
		os.write(w, open(secret, "rb").read(4096))
		os.close(w)
		os.wait()
	END
	daemon python3 -c 'import sys, time; text = open(sys.argv[1]).read(); open("up", "w"); time.sleep(100000)' "$SECRET"
	until_true test -e up
}

program_perl()
{
	perl -e 'open(my $in, "<", $ARGV[0]); open(my $out, ">", "written"); print $out $_ while <$in>' "$SECRET" &&
		perl -e 'open(my $in, "-|", "cat", $ARGV[0]); open(my $out, ">", "child"); print $out $_ while <$in>' "$SECRET" &&
		perl -pe 's/^/: /' "$SECRET" > edited
}

program_sqlite()
{
	sqlite3 data "CREATE TABLE t (x); INSERT INTO t VALUES (CAST(readfile('$SECRET') AS TEXT));" &&
		sqlite3 data .dump > dump && sqlite3 data '.backup copy' &&
		sqlite3 wal "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t SELECT CAST(readfile('$SECRET') AS TEXT);" &&
		sqlite3 wal 'SELECT x FROM t' > selected
}

program_git()
{
	export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b

	git init -q one && cp "$SECRET" one/file && cd one && git add file && git commit -q -m one && echo end >> file &&
		git commit -q -a -m two && git gc -q && cd .. && git clone -q one two && git -C two show > shown &&
		git -C two diff HEAD~1 > diff && git -C two archive HEAD > archive.tar
}

program_vim()
{
	vim.tiny -u NONE -N -e -s -c 'w copy' -c q "$SECRET" || return 1
	cp "$SECRET" edited && mkfifo commands
	# Opened for both so that it does not end.
	setsid sh -c 'exec vim.tiny -u NONE -N -e -s edited <> commands > /dev/null 2>&1' &
	echo 'set swapfile | s/$/ end/ | w | w other' > commands && until_true test -s other
}

program_socat()
{
	daemon socat -u UNIX-LISTEN:"$PWD/socket" CREATE:unix
	until_true test -S socket && socat -u "FILE:$SECRET" UNIX-CONNECT:"$PWD/socket" && until_true test -s unix || return 1
	daemon socat -u TCP-LISTEN:3001,reuseaddr CREATE:tcp
	until_true grep -q ':0BB9 .* 0A ' /proc/net/tcp && socat -u "FILE:$SECRET" TCP:127.0.0.1:3001 && until_true test -s tcp || return 1
	socat -u EXEC:"cat $SECRET",pty CREATE:terminal && socat -u "FILE:$SECRET" EXEC:'tee piped'
}

program_curl()
{
	curl -s "file://$SECRET" -o file || return 1
	cat > server.py <<- 'END'
		import http.server
		class Handler(http.server.SimpleHTTPRequestHandler):
		    def do_PUT(self):
		        open("uploaded", "wb").write(self.rfile.read(int(self.headers["Content-Length"])))
		        self.send_response(201)
		        self.end_headers()
		http.server.ThreadingHTTPServer(("127.0.0.1", 3002), Handler).serve_forever()
	END
	daemon python3 server.py
	until_true grep -q ':0BBA .* 0A ' /proc/net/tcp && curl -sf -T "$SECRET" http://127.0.0.1:3002/x &&
		curl -sf http://127.0.0.1:3002/uploaded -o downloaded
}

program_nginx()
{
	cat > nginx.conf <<- END
		user root;
		worker_processes 1;
		error_log $PWD/error.log;
		pid $PWD/nginx.pid;
		events { }
		http {
			access_log off;
			server { listen 127.0.0.1:3003; sendfile on; root ${SECRET%/*}; }
			server { listen 127.0.0.1:3004; sendfile off; root ${SECRET%/*}; }
		}
	END
	nginx -c "$PWD/nginx.conf" && curl -sf http://127.0.0.1:3003/secret -o sent && curl -sf http://127.0.0.1:3004/secret -o copied
}

# with_ssh: a server on port 3005, and a key that opens it.
with_ssh()
{
	export HOME=/root
	[ -e /root/.ssh/id_ed25519 ] || {
		mkdir -p -m 700 /root/.ssh /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 &&
			cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys &&
			printf 'StrictHostKeyChecking no\nPort 3005\nLogLevel ERROR\n' > /root/.ssh/config &&
			/usr/sbin/sshd -p 3005 -o UsePAM=no -o ListenAddress=127.0.0.1
	}
}

program_ssh()
{
	with_ssh && ssh 127.0.0.1 "cat > $PWD/there" < "$SECRET" && ssh 127.0.0.1 "cat $SECRET" > back &&
		tar -cf - -C "${SECRET%/*}" secret | ssh 127.0.0.1 "tar -xf - -C $PWD"
}

program_scp()
{
	with_ssh && scp -q "$SECRET" "127.0.0.1:$PWD/there" && scp -q "127.0.0.1:$SECRET" back &&
		echo "put $SECRET $PWD/put" | sftp -q -b - 127.0.0.1 && rsync -a -e ssh "$SECRET" "127.0.0.1:$PWD/rsync"
}

program_loop()
{
	modprobe loop && truncate -s 16M disk && mke2fs -q disk && mkdir mnt && mount -o loop disk mnt && cp "$SECRET" mnt/copy && sync &&
		cp mnt/copy back
}

program_overlay()
{
	mkdir lower upper work merged && cp "$SECRET" lower/file && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged &&
		cat merged/file > read && echo more >> merged/file && cat merged/file > again && cp merged/file merged/new && mv merged/new merged/moved
}

program_bubblewrap()
{
	mkdir out && bwrap --ro-bind / / --bind "$PWD/out" /mnt --tmpfs /tmp --proc /proc --dev /dev --unshare-all --die-with-parent \
		sh -c 'cat "$1" > /tmp/inside; cp /tmp/inside /mnt/copy' sh "$SECRET" || return 1
	daemon bwrap --ro-bind / / --bind "$PWD/out" /mnt --tmpfs /tmp --proc /proc --dev /dev --unshare-all \
		python3 -c 'import sys, time; text = open(sys.argv[1]).read(); open("/mnt/up", "w").write(text); time.sleep(100000)' "$SECRET"
	until_true test -s out/up
}

program_journald()
{
	head -n 1 "$SECRET" | systemd-cat -t secret && journalctl --sync && journalctl -q -t secret -o cat > read && test -s read
}

program_services()
{
	cat > /run/systemd/system/copy.service <<- END
		[Unit]
		DefaultDependencies=no
		[Service]
		Type=oneshot
		ExecStart=cp $SECRET $PWD/copy
		ExecStart=cat $SECRET
		StandardOutput=file:$PWD/output
	END
	cat > /run/systemd/system/stays.service <<- END
		[Unit]
		DefaultDependencies=no
		[Service]
		ExecStart=python3 -c 'import time; text = open("$SECRET").read(); open("$PWD/up", "w").write(text); time.sleep(100000)'
		DynamicUser=no
		PrivateTmp=yes
	END
	systemctl daemon-reload && systemctl start copy.service stays.service && until_true test -s up
}
