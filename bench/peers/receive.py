#!/usr/bin/python3
# What a careful Python programmer would write: file and directory are flushed.
# As a program it is CGI; as a module it has receive() and, with Flask, app.
import hashlib
import hmac
import json
import os

KEY = os.environ['HOOK_KEY'].encode()
SPOOL = os.environ['HOOK_SPOOL']


def store(body):
    name = hashlib.sha256(body).hexdigest()
    tmp = f'{SPOOL}/tmp/{name}'
    with open(tmp, 'xb') as f:
        f.write(body)
        f.flush()
        os.fsync(f.fileno())
    os.rename(tmp, f'{SPOOL}/new/{name}.json')
    d = os.open(f'{SPOOL}/new', os.O_RDONLY)
    os.fsync(d)
    os.close(d)


def receive(body, sent):
    want = hmac.new(KEY, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(want, sent):
        return 401, {'status': 'unauthorized'}
    event = json.loads(body)
    if not (isinstance(event.get('id'), str) and
            isinstance(event.get('type'), str) and
            isinstance(event.get('payload'), dict)):
        return 422, {'status': 'rejected'}
    store(body)
    return 200, {'status': 'stored', 'id': event['id']}


def cgi():
    import sys
    body = sys.stdin.buffer.read(int(os.environ['CONTENT_LENGTH']))
    status, what = receive(body, os.environ['HTTP_X_PROTOCOL_SIGNATURE'])
    print(f'Status: {status}\r\nContent-Type: application/json\r\n\r\n' +
          json.dumps(what), end='')


if __name__ == '__main__':
    cgi()
