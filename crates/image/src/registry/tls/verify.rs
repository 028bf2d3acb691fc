//! Which server is believed: one with a chain to a believed certificate, as rustls judges it, or one that
//! shows a believed certificate itself.
//!
//! Docker's recipe for a registry of one's own makes one certificate that is a CA and the server's at once
//! (`openssl req -x509 -addext subjectAltName=…`). webpki refuses every CA as a server. It is accepted here
//! when it is, byte for byte, one that somebody put among the believed ones, and is for this name, this time and
//! this use. That gives nobody more than he has: whoever holds the key of a believed CA can sign such a server.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// id-ce-extKeyUsage (RFC 5280, 4.2.1.12), as DER.
const EXTENDED_KEY_USAGE: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x25];
/// id-kp-serverAuth, as DER.
const SERVER_AUTH: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// Believes these certificates, and who is signed by them.
pub(super) fn named(
    believed: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(believed.iter().cloned());
    match WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build() {
        Ok(usual) => Arc::new(Named { usual, believed: believed.into_iter().collect() }),
        // The only error without lists of revoked ones: nobody is believed.
        Err(_) => Arc::new(Unseen { taken: false }),
    }
}

/// The judge of servers' certificates.
#[derive(Debug)]
struct Named {
    usual: Arc<WebPkiServerVerifier>,
    believed: HashSet<CertificateDer<'static>>,
}

impl Named {
    /// Whether this CA is a server that was named itself. webpki looks at the dates before it looks for CAs, so
    /// that they are known to be right here; the tests hold it to that.
    fn is_named(&self, shown: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<bool, rustls::Error> {
        if !self.believed.contains(shown) {
            return Ok(false);
        }
        let has = |bytes: &[u8]| shown.windows(bytes.len()).any(|window| window == bytes);
        if has(EXTENDED_KEY_USAGE) && !has(SERVER_AUTH) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name).map(|()| true)
    }
}

/// Whether webpki refused it for being a CA, and for nothing before that.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.usual.verify_server_cert(shown, others, name, ocsp, now) {
            Err(error) if is_authority(&error) && self.is_named(shown, name)? => {
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Looks at no certificate: takes every server, as `--tls-verify=false` asks, or none.
#[derive(Debug)]
pub(super) struct Unseen {
    /// Whether servers are taken.
    pub(super) taken: bool,
}

impl ServerCertVerifier for Unseen {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.taken {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
    }

    // The key of a certificate that anybody could have made says nothing, and webpki reads no old ones.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as S;
        vec![
            S::ECDSA_NISTP256_SHA256,
            S::ECDSA_NISTP384_SHA384,
            S::ECDSA_NISTP521_SHA512,
            S::ED25519,
            S::ED448,
            S::RSA_PSS_SHA256,
            S::RSA_PSS_SHA384,
            S::RSA_PSS_SHA512,
            S::RSA_PKCS1_SHA256,
            S::RSA_PKCS1_SHA384,
            S::RSA_PKCS1_SHA512,
            S::RSA_PKCS1_SHA1,
        ]
    }
}
