// The worker speaks the interface of libsrtp 3; Debian 12 has libsrtp 2.5.
// This header stands first on the include path and maps the calls the worker
// makes: an opaque policy built up by setters, and protect/unprotect with
// separate in and out buffers.
#pragma once

#include <srtp2/srtp.h>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Error codes that libsrtp 3 added; libsrtp 2 never returns them.
#define srtp_err_status_buffer_small static_cast<srtp_err_status_t>(28)
#define srtp_err_status_cryptex_err static_cast<srtp_err_status_t>(29)

namespace srtp3
{
	// The longest master key with its salt: AES-256-GCM, 32 + 12 octets.
	constexpr size_t MaxKeyLength{ SRTP_MAX_KEY_LEN };

	struct Policy
	{
		srtp_policy_t native{};
		unsigned char key[MaxKeyLength]{};
	};

	inline srtp_err_status_t create(Policy** policy)
	{
		*policy = new Policy();

		return srtp_err_status_ok;
	}

	inline void destroy(Policy* policy)
	{
		// The key must not stay behind in freed memory.
		volatile unsigned char* octet = policy->key;

		for (size_t i = 0; i < MaxKeyLength; ++i)
		{
			octet[i] = 0;
		}

		delete policy;
	}

	inline srtp_err_status_t setSsrc(Policy* policy, srtp_ssrc_t ssrc)
	{
		policy->native.ssrc = ssrc;

		return srtp_err_status_ok;
	}

	inline srtp_err_status_t setProfile(Policy* policy, srtp_profile_t profile)
	{
		const srtp_err_status_t status =
		  srtp_crypto_policy_set_from_profile_for_rtp(&policy->native.rtp, profile);

		if (status != srtp_err_status_ok)
		{
			return status;
		}

		return srtp_crypto_policy_set_from_profile_for_rtcp(&policy->native.rtcp, profile);
	}

	inline srtp_err_status_t addKey(
	  Policy* policy,
	  const uint8_t* key,
	  size_t keyLength,
	  const uint8_t* salt,
	  size_t saltLength,
	  const uint8_t* mki,
	  size_t mkiLength)
	{
		if (keyLength + saltLength > MaxKeyLength || mki != nullptr || mkiLength != 0)
		{
			return srtp_err_status_bad_param;
		}

		// libsrtp 2 takes key and salt as one run of octets.
		std::memcpy(policy->key, key, keyLength);
		std::memcpy(policy->key + keyLength, salt, saltLength);
		policy->native.key = policy->key;

		return srtp_err_status_ok;
	}

	inline srtp_err_status_t setAllowRepeatTx(Policy* policy, bool allow)
	{
		policy->native.allow_repeat_tx = allow ? 1 : 0;

		return srtp_err_status_ok;
	}

	inline srtp_err_status_t setWindowSize(Policy* policy, size_t size)
	{
		policy->native.window_size = static_cast<unsigned long>(size);

		return srtp_err_status_ok;
	}

	using Transform = srtp_err_status_t (*)(srtp_t, void*, int*);

	// libsrtp 2 works in place, libsrtp 3 from one buffer to another that may
	// be the same. `trailer` is the room that the call may need past the input.
	inline srtp_err_status_t transform(
	  Transform call,
	  srtp_t session,
	  const uint8_t* in,
	  size_t inLength,
	  uint8_t* out,
	  size_t* outLength,
	  size_t trailer)
	{
		if (inLength + trailer > *outLength)
		{
			return srtp_err_status_buffer_small;
		}

		if (in != out)
		{
			std::memmove(out, in, inLength);
		}

		int length                     = static_cast<int>(inLength);
		const srtp_err_status_t status = call(session, out, &length);

		if (status == srtp_err_status_ok)
		{
			*outLength = static_cast<size_t>(length);
		}

		return status;
	}

	inline srtp_err_status_t protect(
	  srtp_t session, const uint8_t* in, size_t inLength, uint8_t* out, size_t* outLength, size_t /*mkiIndex*/)
	{
		return transform(::srtp_protect, session, in, inLength, out, outLength, SRTP_MAX_TRAILER_LEN);
	}

	inline srtp_err_status_t protectRtcp(
	  srtp_t session, const uint8_t* in, size_t inLength, uint8_t* out, size_t* outLength, size_t /*mkiIndex*/)
	{
		return transform(
		  ::srtp_protect_rtcp, session, in, inLength, out, outLength, SRTP_MAX_TRAILER_LEN + 4);
	}

	inline srtp_err_status_t unprotect(
	  srtp_t session, const uint8_t* in, size_t inLength, uint8_t* out, size_t* outLength)
	{
		return transform(::srtp_unprotect, session, in, inLength, out, outLength, 0);
	}

	inline srtp_err_status_t unprotectRtcp(
	  srtp_t session, const uint8_t* in, size_t inLength, uint8_t* out, size_t* outLength)
	{
		return transform(::srtp_unprotect_rtcp, session, in, inLength, out, outLength, 0);
	}

	inline srtp_err_status_t createSession(srtp_t* session, Policy* policy)
	{
		return ::srtp_create(session, &policy->native);
	}

	// Both versions take the SSRC in network order.
	inline srtp_err_status_t removeStream(srtp_t session, uint32_t ssrc)
	{
		return ::srtp_remove_stream(session, ssrc);
	}
} // namespace srtp3

#define srtp_policy_t srtp3::Policy*
#define srtp_policy_create srtp3::create
#define srtp_policy_destroy srtp3::destroy
#define srtp_policy_set_ssrc srtp3::setSsrc
#define srtp_policy_set_profile srtp3::setProfile
#define srtp_policy_add_key srtp3::addKey
#define srtp_policy_set_allow_repeat_tx srtp3::setAllowRepeatTx
#define srtp_policy_set_window_size srtp3::setWindowSize
#define srtp_create srtp3::createSession
#define srtp_protect srtp3::protect
#define srtp_protect_rtcp srtp3::protectRtcp
#define srtp_unprotect srtp3::unprotect
#define srtp_unprotect_rtcp srtp3::unprotectRtcp
#define srtp_stream_remove srtp3::removeStream
