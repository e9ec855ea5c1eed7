# receive.py under Flask, for gunicorn.
from flask import Flask, request, jsonify
from receive import receive

app = Flask(__name__)


@app.post('/')
def hook():
    status, what = receive(request.get_data(),
                           request.headers.get('X-Protocol-Signature', ''))
    return jsonify(what), status
