"""roamvpn keeps the IPsec, routing and QoS of security gateways right while mobile users roam.

What a gateway must run is a pure function of the tables and the sessions; see the packages ``tables``, ``policy``,
``render`` and ``plan``, each of which knows only those before it.
"""

__version__ = "0.1.0"
