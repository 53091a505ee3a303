//! By which way a server is reached: at once, or through the proxy that the environment names, as curl understands it.

use std::{
    error::Error,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::TryFutureExt as _;
use hyper::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;

/// Connects with servers.
#[derive(Clone, Debug)]
pub struct Route {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Route {
    /// Through the proxies of `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, except to those of `NO_PROXY`.
    pub fn of_the_environment() -> Self {
        Self::through(Matcher::from_env())
    }

    fn through(proxies: Matcher) -> Self {
        let mut direct = HttpConnector::new();
        // What comes behind it encrypts.
        direct.enforce_http(false);
        Self {
            direct,
            proxies: Arc::new(proxies),
        }
    }

    /// The proxy on the way there; none to this machine itself, which no other can reach.
    fn proxy(&self, to: &Uri) -> Option<Intercept> {
        let host = to.host()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        self.proxies.intercept(to).filter(|_| !is_here)
    }
}

type Connecting = dyn Future<Output = Result<TokioIo<TcpStream>, Box<dyn Error + Send + Sync>>> + Send;

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<Connecting>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxy(&to) else {
            return Box::pin(self.direct.call(to).err_into());
        };
        if proxy.uri().scheme_str() != Some("http") {
            let scheme = proxy.uri().scheme_str().unwrap_or_default().to_owned();
            return Box::pin(async move { Err(format!("no proxy of {scheme}:// is known, only of http://").into()) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(authorisation) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorisation.clone());
        }
        let to = with_port(to);
        let through = move |error| -> Self::Error { format!("through the proxy: {error}").into() };
        Box::pin(tunnel.call(to).map_err(through))
    }
}

/// The port of HTTP is said, since a tunnel leads to that of HTTPS else.
fn with_port(to: Uri) -> Uri {
    let host = match (to.scheme_str(), to.port()) {
        (Some("http"), None) => to.host().unwrap_or_default().to_owned(),
        _ => return to,
    };
    let with_port = Uri::builder().scheme("http").authority(format!("{host}:80"));
    with_port.path_and_query("/").build().unwrap_or(to)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A proxy that says this and nothing more; gives what it was asked.
    fn proxy(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, asked)
    }

    fn connect(proxies: Matcher, to: &'static str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connecting = runtime.block_on(Route::through(proxies).call(Uri::from_static(to)));
        connecting.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_proxy_is_asked_for_a_tunnel_and_told_who_asks() {
        for (to, expected) in [
            ("https://feeds.example/list", "CONNECT feeds.example:443 HTTP/1.1"),
            ("https://feeds.example:8443/list", "CONNECT feeds.example:8443 HTTP/1.1"),
            ("http://siem.example/", "CONNECT siem.example:80 HTTP/1.1"),
        ] {
            let (address, asked) = proxy("HTTP/1.1 200 OK\r\n\r\n");
            let proxies = Matcher::builder()
                .all(format!("http://tocsin:hunter2@{address}"))
                .build();
            connect(proxies, to).unwrap();
            let asked = asked.join().unwrap();
            assert!(asked.starts_with(expected), "{asked}");
            assert!(
                asked.contains("Proxy-Authorization: Basic dG9jc2luOmh1bnRlcjI="),
                "{asked}"
            );
        }
    }

    #[test]
    fn a_proxy_that_refuses_is_named_without_its_secret() {
        let (address, asked) = proxy("HTTP/1.1 403 Forbidden\r\n\r\n");
        let proxies = Matcher::builder()
            .all(format!("http://tocsin:hunter2@{address}"))
            .build();
        let error = connect(proxies, "https://feeds.example/").unwrap_err();
        assert!(
            error.starts_with("through the proxy: ") && !error.contains("hunter2"),
            "{error}"
        );
        asked.join().unwrap();
        let proxies = Matcher::builder().all("socks5://127.0.0.1:1").build();
        let error = connect(proxies, "https://feeds.example/").unwrap_err();
        assert!(error.contains("only of http://"), "{error}");
    }

    #[test]
    fn some_servers_are_reached_at_once() {
        let route = Route::through(
            Matcher::builder()
                .all("http://192.0.2.1:3128")
                .no("siem.example,10.0.0.0/8")
                .build(),
        );
        for (to, is_proxied) in [
            ("https://feeds.example/", true),
            ("https://siem.example/", false),
            ("https://10.1.2.3/", false),
            ("https://127.0.0.1/", false),
            ("http://[::1]:8080/", false),
            ("http://localhost/", false),
        ] {
            assert_eq!(route.proxy(&Uri::from_static(to)).is_some(), is_proxied, "{to}");
        }
    }
}
