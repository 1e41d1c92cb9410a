"""A worker beside the web service: says every ten seconds that it swept."""

import time

while True:
    print("swept", flush=True)
    time.sleep(10)
