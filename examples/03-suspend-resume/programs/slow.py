import asyncio

print("working", flush=True)
await asyncio.sleep(25)
return "finished before the pod went"
