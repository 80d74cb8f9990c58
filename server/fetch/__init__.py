"""Media named by an http or https URL: fetched from where the operator allows it, and never from inside the network.

    addresses  which IP addresses are public
    urls       a URL -> scheme, host, port, target, checked against what is allowed
    network    connects to a host only at public addresses, the very ones that were checked
    web        the resolver of `http:` and `https:`: limits of size, time and number, redirects

There are no cookies, no `.netrc` and no proxies here: nothing but `httpcore`, told exactly what to do.
"""
