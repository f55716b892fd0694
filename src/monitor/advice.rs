//! What to do about a failure, in one sentence: by the service's code, where it gave one that says enough, and otherwise by
//! the errno that the program got.

/// What to do about a failure with this errno, by name, and this code of the service, which is empty where it gave none.
pub fn advice(errno: &str, code: &str) -> &'static str {
    by_code(code).unwrap_or_else(|| by_errno(errno))
}

fn by_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidAccessKeyId" => "The service does not know the secret id: check the credentials, then send SIGHUP.",
        "SignatureDoesNotMatch" => {
            "The secret key is not the one of the secret id: check the credentials, then send SIGHUP."
        }
        "RequestTimeTooSkewed" | "AccessForbidden.RequestTimeTooSkewed" => "Set the clock of this machine.",
        "ExpiredToken" | "InvalidToken" => "The temporary key is over: see that its source gives a new one.",
        "NoSuchBucket" => "The bucket is gone: unmount, and check its name and region.",
        "SlowDown" | "ServiceUnavailable" | "RequestLimitExceeded" => {
            "The service asks for fewer requests, and gets fewer: try again later, with fewer programs at once."
        }
        "InvalidObjectState" => "The object is archived: bring it back with `cosmount restore PATH`.",
        "EntityTooLarge" => "The object would be larger than the service allows: write it in several files.",
        _ => return None,
    })
}

fn by_errno(errno: &str) -> &'static str {
    match errno {
        "EACCES" => "Check that the key in use may do this, by the policies of the user and of the bucket.",
        "EPERM" => "Only the owner, or root, may do this.",
        "EROFS" => "The mount is read-only: mount it without --read-only to change something.",
        "ETIMEDOUT" => "Check the network and the endpoint; --request-timeout says how long is waited.",
        "EHOSTUNREACH" => "The service cannot be reached: check the network, the endpoint and --proxy.",
        "EAGAIN" => "The service asks for fewer requests: try again later, with fewer programs at once.",
        "ENOSPC" => "Nothing more fits: free space where the service keeps its data, or raise --metadata-memory.",
        "EDQUOT" => "The quota of the bucket is used up: remove something, or raise it.",
        "EFBIG" => "The file would be larger than the service allows: write it in several files.",
        "ESTALE" => "Somebody else has changed the object: open the file again.",
        "EBUSY" => "Somebody else uses the object, or it is archived: try again, or restore it first.",
        "EEXIST" => "Somebody else has made it meanwhile: look at what is there now.",
        "ENOENT" => "It is gone, or the bucket is: look whether somebody else has removed it.",
        "EILSEQ" | "ENAMETOOLONG" => "The name does not fit the service's rules for keys: use another one.",
        "EOPNOTSUPP" => "The service cannot do this; docs/SEMANTICS.md says what can be done instead.",
        "EINVAL" => "The service refuses the request as it is: keep the request id and report it.",
        // What was written is not in the bucket, as the program has heard.
        "EIO" => "Write the file again; if it fails again, look at the log and keep the request id.",
        _ => "Try again; if it fails again, look at the log of the mount.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_more_than_an_errno() {
        assert!(advice("EACCES", "SignatureDoesNotMatch").contains("secret key"));
        assert!(advice("EACCES", "AccessDenied").contains("policies"));
        assert!(advice("EIO", "").contains("Write the file again"));
    }

    /// What every failure that is told can have is met by more than the last resort.
    #[test]
    fn every_errno_of_a_failure_has_its_advice() {
        let of_failures = [
            "EACCES",
            "EPERM",
            "EROFS",
            "ETIMEDOUT",
            "EHOSTUNREACH",
            "EAGAIN",
            "ENOSPC",
            "EDQUOT",
            "EFBIG",
            "ESTALE",
            "EBUSY",
            "EEXIST",
            "ENOENT",
            "EILSEQ",
            "ENAMETOOLONG",
            "EOPNOTSUPP",
            "EINVAL",
            "EIO",
        ];
        let last_resort = by_errno("");
        for errno in of_failures {
            let said = by_errno(errno);
            assert!(said != last_resort && said.ends_with('.') && said.len() < 110, "{errno}: {said}");
        }
    }
}
