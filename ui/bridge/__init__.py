"""The only crossing between the asyncio client of the engine process and Qt."""
