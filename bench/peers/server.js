// What a careful Node programmer would write: file and directory are flushed.
'use strict';
const crypto = require('crypto');
const fs = require('fs').promises;
const http = require('http');
const { HOOK_KEY, HOOK_SPOOL, HOOK_PORT } = process.env;

async function store(body) {
	const name = crypto.createHash('sha256').update(body).digest('hex');
	const tmp = `${HOOK_SPOOL}/tmp/${name}`;
	const file = await fs.open(tmp, 'wx');
	await file.writeFile(body);
	await file.sync();
	await file.close();
	await fs.rename(tmp, `${HOOK_SPOOL}/new/${name}.json`);
	const dir = await fs.open(`${HOOK_SPOOL}/new`, 'r');
	await dir.sync();
	await dir.close();
}

function answer(res, status, what) {
	res.writeHead(status, { 'Content-Type': 'application/json' });
	res.end(JSON.stringify(what));
}

async function receive(req, res, body) {
	const sent = Buffer.from(req.headers['x-protocol-signature'] || '');
	const want = Buffer.from(crypto.createHmac('sha256', HOOK_KEY)
		.update(body).digest('hex'));
	if (sent.length !== want.length || !crypto.timingSafeEqual(sent, want))
		return answer(res, 401, { status: 'unauthorized' });
	const event = JSON.parse(body);
	if (typeof event.id !== 'string' || typeof event.type !== 'string' ||
	    typeof event.payload !== 'object')
		return answer(res, 422, { status: 'rejected' });
	await store(body);
	answer(res, 200, { status: 'stored', id: event.id });
}

http.createServer((req, res) => {
	const parts = [];
	req.on('data', (part) => parts.push(part));
	req.on('end', () => receive(req, res, Buffer.concat(parts)).catch(() =>
		answer(res, 503, { status: 'unavailable' })));
}).listen(HOOK_PORT, '127.0.0.1', 4096);
