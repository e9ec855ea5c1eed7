// The reference page's sample for Node.  Each line of standard input is a body,
// in hex, and a signature; each of standard output the signature that the body
// should have, and whether it is that.
const crypto = require('crypto');
const secret = process.env.SECRET;

for (const line of require('fs').readFileSync(0, 'ascii').trim().split('\n')) {
	const [hex, signature] = line.split(' ');
	const payload = Buffer.from(hex, 'hex').toString('utf8');
	const expected =
	    crypto.createHmac('sha256', secret).update(payload).digest('hex');
	console.log(expected, expected === signature ? 'yes' : 'no');
}
