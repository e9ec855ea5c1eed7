<?php
// What a careful PHP programmer would write; HOOK_FSYNC=0 leaves the flush out.
// PHP can't flush a directory.
$body = file_get_contents('php://input');
$sent = $_SERVER['HTTP_X_PROTOCOL_SIGNATURE'] ?? '';
header('Content-Type: application/json');
if (!hash_equals(hash_hmac('sha256', $body, getenv('HOOK_KEY')), $sent)) {
	http_response_code(401);
	exit('{"status":"unauthorized"}');
}
$event = json_decode($body, true);
if (!is_string($event['id'] ?? null) || !is_string($event['type'] ?? null) ||
    !is_array($event['payload'] ?? null)) {
	http_response_code(422);
	exit('{"status":"rejected"}');
}
$spool = getenv('HOOK_SPOOL');
$name = hash('sha256', $body);
$tmp = "$spool/tmp/$name." . getmypid();
$f = fopen($tmp, 'x');
if (!$f || fwrite($f, $body) !== strlen($body) ||
    (getenv('HOOK_FSYNC') !== '0' && !fsync($f)) || !fclose($f) ||
    !rename($tmp, "$spool/new/$name.json")) {
	http_response_code(503);
	exit('{"status":"unavailable"}');
}
echo json_encode(['status' => 'stored', 'id' => $event['id']]);
