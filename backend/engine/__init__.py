"""Models, and how text comes out of them.

`model` is the interface, `llama_cpp` its implementation on llama.cpp, `sampling` the sampler chain, `generate` the
generation loop (a plain synchronous generator), `worker` the one thread that owns every model. A request walks
worker -> generate -> model.forward -> sampling, and comes back as events.
"""
