"""What runs on a gateway: generations, activation, verification. The standard library only, and `render.swanctl`.

It travels to gateways as one program, `roamvpn-gateway` (see `stores.program`), so nothing here may import what a
bare Debian lacks.
"""
